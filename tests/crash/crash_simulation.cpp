// SPDX-License-Identifier: MIT
//
// Cuts the power at random moments of random work, recovers from what may be left, and checks that
// it holds exactly a prefix of the commits with all those that were promised; goes on from there,
// and cuts again. Everything follows from the seed (simulation/schedule.hpp), so a seed that fails
// does so again. Ends with "N crash points, M lost, K errors".
// usage: crash_simulation [--seed S] [--points N] [--only KIND] [--with KIND] [--without KIND]
//        [--replay yes] [--show yes] [--expect failure]
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "crash/simulation/clients.hpp"
#include "crash/simulation/log_lives.hpp"
#include "vmcache/error.hpp"

namespace vmcache::test {
namespace {

constexpr std::uint64_t kPointsASeed = 50;
constexpr std::uint64_t kPointsAfterLife = 3;
//! Far more than anything takes, sanitizers and emulation included.
constexpr unsigned kHangSeconds = 120;
constexpr unsigned kHangSecondsExpected = 20;

struct Totals {
  std::uint64_t points = 0;
  std::uint64_t lost = 0;
  std::uint64_t errors = 0;
  std::uint64_t later = 0;    // of the points: in a later life, or in a recovery
  std::uint64_t refused = 0;  // of the points: files that were not a pair, or damaged
  std::uint64_t digest = 0;   // of one seed: two runs with the same digest were the same

  void add(const Totals& other) {
    points += other.points;
    lost += other.lost;
    errors += other.errors;
    later += other.later;
    refused += other.refused;
  }
};

struct Arguments {
  std::uint64_t seed = 1;
  std::uint64_t points = 1000;
  Kinds kinds = Kinds::all();  // that a seed may choose from
  Kinds always;                // that every seed has
  bool replay = false;
  bool show = false;
  bool expect_failure = false;
};

bool expect_failure = false;
std::uint64_t current_seed = 0;

//! Ends the program, because what is being simulated does not.
[[noreturn]] void end_at_once(const char* what) {
  std::array<char, 160> text;
  const int size = std::snprintf(text.data(), text.size(), "seed %lu: %s%s\n",
                                 static_cast<unsigned long>(current_seed), what,
                                 expect_failure ? "; the planted bug was seen" : "");
  std::fflush(stdout);
  (void)!::write(STDOUT_FILENO, text.data(), static_cast<std::size_t>(size));
  ::_exit(expect_failure ? 0 : 1);
}
void on_signal(int number) {
  end_at_once(number == SIGALRM ? "does not end" : "the program fails");
}

DatabaseOptions options_of(const Scenario& scenario, Recorder& recorder, std::uint64_t frames) {
  DatabaseOptions options = recorded_database(recorder, frames);
  options.pool.capacity_bytes = scenario.capacity_pages * kPageSize;
  options.log.capacity_bytes = scenario.log_bytes;
  options.checkpoint_thread = scenario.checkpoint_thread;
  options.checkpoint_percent = scenario.checkpoint_percent;
  return options;
}

class Simulation {
 public:
  explicit Simulation(const Arguments& arguments) : _arguments(arguments) {}

  Totals run() {
    for (std::uint64_t seed = _arguments.seed; _totals.points < _arguments.points && !seen();
         ++seed) {
      const std::uint64_t points = std::min(kPointsASeed, _arguments.points - _totals.points);
      const Totals first = run_apart(seed, points);
      _totals.add(first);
      if (_arguments.replay && Schedule::deterministic() &&
          run_apart(seed, points).digest != first.digest) {
        std::printf("seed %lu: the same seed gives another run\n",
                    static_cast<unsigned long>(seed));
        ++_totals.errors;
      }
    }
    return _totals;
  }

 private:
  using Images = std::array<DiskImage, Recorder::kDevices>;
  //! What an open has found.
  struct Found {
    bool ok = false;
    Errc code = Errc::kOk;
    std::string error;
    std::optional<Model::State> state;
  };

  //! Of a planted bug, once is enough.
  [[nodiscard]] bool seen() const noexcept {
    return expect_failure && _totals.lost + _totals.errors > 0;
  }

  [[nodiscard]] SchedulePlan next_plan() {
    SchedulePlan plan = _scenario.schedule;
    plan.seed = _random();
    return plan;
  }

  //! In a process of its own: what a seed does must not depend on what others have left in this
  //! one, and what does not end well ends there.
  [[nodiscard]] Totals run_apart(std::uint64_t seed, std::uint64_t points) {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) fail_at_once("pipe");
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child < 0) fail_at_once("fork");
    if (child == 0) {
      limit_memory();
      run_seed(seed, points);
      std::fflush(stdout);
      const bool told = ::write(ends[1], &_totals, sizeof _totals) == sizeof _totals;
      ::_exit(told ? 0 : 1);
    }
    ::close(ends[1]);
    Totals totals;
    const bool told = ::read(ends[0], &totals, sizeof totals) == sizeof totals;
    ::close(ends[0]);
    int status = 0;
    (void)::waitpid(child, &status, 0);
    if (told) return totals;
    if (WIFSIGNALED(status))
      std::printf("seed %lu: ended by signal %d\n", static_cast<unsigned long>(seed),
                  WTERMSIG(status));
    Totals none;
    none.points = points;
    none.errors = 1;
    return none;
  }

  [[noreturn]] static void fail_at_once(const char* what) {
    std::perror(what);
    std::exit(2);
  }

  //! Far more than a seed needs. Sanitizers need more than there is.
  static void limit_memory() {
    if (!Schedule::deterministic()) return;
    const rlimit max{rlim_t{4} << 30, rlim_t{4} << 30};
    (void)::setrlimit(RLIMIT_AS, &max);
  }

  void run_seed(std::uint64_t seed, std::uint64_t points) {
    _saved = _totals.lost + _totals.errors > 0 ? 1 : 0;  // the first failure's files are kept
    _totals = {};
    current_seed = seed;
    _scenario = scenario_of(seed, _arguments.kinds, _arguments.always);
    if (_arguments.show) print(_scenario);
    _random.seed(seed * 7919);
    if (_scenario.kinds.has(Kind::kLog)) return run_log(points);
    if (_scenario.kinds.has(Kind::kSwappedLog)) make_other();
    Recorder recorder({}, _random());
    Model model;
    first_life(recorder, model);
    explore(recorder, model, 0, points);
  }

  //! Another database, for its log.
  void make_other() {
    const Scenario own = std::exchange(_scenario, scenario_of(~_scenario.seed, {}, {}));
    Recorder recorder({}, _random());
    Model model;
    first_life(recorder, model);
    _other = recorder.content();
    _scenario = own;
  }

  void run_log(std::uint64_t points) {
    ::alarm(hang_seconds());
    LogLives lives(_scenario, _random());
    lives.run(points);
    _totals.points += points;
    _totals.later += points;
    if (!lives.finding().empty()) report(lives.finding(), _totals.lost);
    note_digest();
  }

  void first_life(Recorder& recorder, Model& model) {
    ::alarm(hang_seconds());
    const Schedule schedule(next_plan());
    try {
      recorder.behave(Recorder::kPages, _scenario.devices_at_open[Recorder::kPages]);
      recorder.behave(Recorder::kLog, _scenario.devices_at_open[Recorder::kLog]);
      Database database(options_of(_scenario, recorder, _scenario.frames));
      live(database, recorder, model, 0);
    } catch (const std::exception& error) {
      if (!_scenario.trouble())
        report(std::string("the first life: ") + error.what(), _totals.errors);
    }
    if (_arguments.show)
      std::printf("  %lu events, %lu commits, %lu marks, digest %016lx\n",
                  static_cast<unsigned long>(recorder.moment()),
                  static_cast<unsigned long>(model.commits()),
                  static_cast<unsigned long>(Schedule::marks()),
                  static_cast<unsigned long>(Schedule::digest()));
    note_digest();
  }

  void note_digest() {
    _totals.digest = (_totals.digest ^ Schedule::digest()) * 0x9e3779b97f4a7c15;
  }

  //! Work on an open database, until it is closed.
  void live(Database& database, Recorder& recorder, Model& model, unsigned number) {
    Findings findings;
    Life life{_scenario, database, recorder, model, findings, number};
    recorder.behave(Recorder::kPages, _scenario.devices[Recorder::kPages]);
    recorder.behave(Recorder::kLog, _scenario.devices[Recorder::kLog]);
    try {
      work(life);
    } catch (const std::exception& error) {
      findings.add(std::string("the work: ") + error.what());
    }
    model.finish();
    if (findings.empty() && database.log().log_error() == 0)
      look_and_close(database, recorder, model, findings);
    if (const std::string misuse = recorder.misuse(); !misuse.empty()) findings.add(misuse);
    for (const std::string& finding : findings.all())
      report("life " + std::to_string(number) + ": " + finding, _totals.errors);
  }

  void look_and_close(Database& database, Recorder& recorder, Model& model, Findings& findings) {
    recorder.behave(Recorder::kPages, _scenario.devices_at_open[Recorder::kPages]);
    recorder.behave(Recorder::kLog, _scenario.devices_at_open[Recorder::kLog]);
    try {
      if (read_entries(database) != model.last())
        findings.add("while it is open: not what was committed");
      database.close();
      model.promise_all(recorder.moment());
    } catch (const std::exception& error) {
      if (!_scenario.trouble()) findings.add(std::string("the end: ") + error.what());
    }
  }

  //! Cuts what the recorder has seen at some moments.
  void explore(Recorder& recorder, const Model& model, unsigned depth, std::uint64_t points) {
    std::vector<std::uint64_t> moments;
    for (std::uint64_t i = 0; i < points; ++i)
      moments.push_back(_random() % (recorder.moment() + 1));
    std::ranges::sort(moments);
    Images earlier = recorder.cut(0, _random);
    for (const std::uint64_t moment : moments) {
      if (seen() || _totals.points >= _arguments.points) return;
      Images left = recorder.cut(moment, _random);
      _where = "life " + std::to_string(depth) + ", moment " + std::to_string(moment) + " of " +
               std::to_string(recorder.moment());
      check_point(left, earlier, model, model.promised(moment), depth);
      earlier = std::move(left);
    }
  }

  enum class Spoiled : std::uint8_t { kNo, kMayBeRefused, kMustBeRefused };
  //! Replaces one of the files, or harms it.
  Spoiled spoil(Images& images, const Images& earlier) {
    const Kinds kinds = _scenario.kinds;
    const std::uint64_t choice = _random() % 12;
    if (choice == 0 && kinds.has(Kind::kOldPages)) {
      _where += ", an earlier page file";
      images[Recorder::kPages] = earlier[Recorder::kPages];
      return Spoiled::kMayBeRefused;
    }
    if (choice == 1 && kinds.has(Kind::kSwappedLog) && _other[Recorder::kLog].size() > 0) {
      _where += ", another database's log";
      images[Recorder::kLog] = _other[Recorder::kLog];
      return Spoiled::kMayBeRefused;
    }
    if (choice >= 8 || !kinds.has(Kind::kLostMaster)) return Spoiled::kNo;
    const LostMaster lost = lose_newer_master(images[Recorder::kLog], _random);
    if (lost == LostMaster::kNone) return Spoiled::kNo;
    _where += ", a damaged master";
    return lost == LostMaster::kToRefuse ? Spoiled::kMustBeRefused : Spoiled::kNo;
  }

  void check_point(Images left, const Images& earlier, const Model& model, std::size_t min,
                   unsigned depth) {
    ++_totals.points;
    if (depth > 0) ++_totals.later;
    const Spoiled spoiled = spoil(left, earlier);
    Recorder after(left, _random());
    after.behave(Recorder::kPages, _scenario.devices_at_open[Recorder::kPages]);
    after.behave(Recorder::kLog, _scenario.devices_at_open[Recorder::kLog]);
    const bool goes_on = depth < _scenario.lives && _random() % 3 == 0;
    const bool works = goes_on && depth + 1 < _scenario.lives && _random() % 4 != 0;
    Model next;
    const Found found = open(after, model, min, works, depth + 1, next);
    if (!found.ok && spoiled != Spoiled::kNo && refused(found.code)) {
      ++_totals.refused;
      return;
    }
    if (found.ok && spoiled == Spoiled::kMustBeRefused)
      return fail(left, "lost: it opens, though no master says what the log holds", _totals.lost);
    if (!found.ok) return fail(left, "error: " + found.error, _totals.errors);
    if (!found.state)
      return fail(left, "lost: not the state after " + std::to_string(min) + " or more commits",
                  _totals.lost);
    if (goes_on) explore(after, next, depth + 1, kPointsAfterLife);
  }

  //! Files that are no pair, or damaged.
  static bool refused(Errc code) {
    return code == Errc::kCorrupt || code == Errc::kNotADatabase || code == Errc::kInvalidOption ||
           code == Errc::kChecksum || code == Errc::kWrongPage || code == Errc::kMismatch ||
           code == Errc::kBeyondLog;
  }

  //! Recovers, compares, and goes on if it `works`.
  Found open(Recorder& after, const Model& model, std::size_t min, bool works, unsigned life,
             Model& next) {
    Found found;
    ::alarm(hang_seconds());
    const Schedule schedule(next_plan());
    try {
      Database database(options_of(_scenario, after, _scenario.frames_next));
      found.state = model.find(read_state(database), min);
      found.ok = true;
      if (!found.state) return found;
      next = Model(*found.state);
      if (works) {
        live(database, after, next, life);
      } else {
        next.finish();
      }
    } catch (const Error& error) {
      found.error = error.what();
      found.code = error.code();
    } catch (const std::exception& error) {
      found.error = error.what();
    }
    note_digest();
    return found;
  }

  [[nodiscard]] static unsigned hang_seconds() {
    return expect_failure ? kHangSecondsExpected : kHangSeconds;
  }

  void report(const std::string& what, std::uint64_t& count) {
    ++count;
    if (!_said && !_arguments.show) print(_scenario);
    _said = true;
    std::printf("seed %lu: %s\n", static_cast<unsigned long>(_scenario.seed), what.c_str());
    std::fflush(stdout);
  }

  void fail(const Images& left, const std::string& what, std::uint64_t& count) {
    report(_where + ": " + what, count);
    if (expect_failure || _saved++ > 0) return;
    left[Recorder::kPages].save("crash.pages");
    left[Recorder::kLog].save("crash.log");
    std::printf("its devices are in crash.pages and crash.log\n");
  }

  const Arguments _arguments;
  Scenario _scenario;
  std::mt19937_64 _random;
  Totals _totals;
  Images _other;  // of another database
  std::string _where;
  bool _said = false;
  unsigned _saved = 0;
};

[[noreturn]] void usage(const char* what, const char* value) {
  std::fprintf(
      stderr,
      "crash_simulation: %s '%s' (allowed: --seed S, --points N, --only KIND, --with KIND, "
      "--without KIND, --replay "
      "yes, --show yes, --expect failure; kinds:",
      what, value);
  for (const std::string_view name : kKindNames)
    std::fprintf(stderr, " %.*s", static_cast<int>(name.size()), name.data());
  std::fprintf(stderr, ")\n");
  std::exit(2);
}

std::uint64_t number_of(const char* text) {
  char* end = nullptr;
  const std::uint64_t number = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0') usage("not a number:", text);
  return number;
}

Kind kind_of(const char* name) {
  const auto found = std::ranges::find(kKindNames, std::string_view(name));
  if (found == kKindNames.end()) usage("unknown kind", name);
  return static_cast<Kind>(found - kKindNames.begin());
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) usage("no value after", argv[i]);
    if (name == "--seed") {
      arguments.seed = number_of(argv[i + 1]);
    } else if (name == "--points") {
      arguments.points = number_of(argv[i + 1]);
    } else if (name == "--only") {
      arguments.kinds = {};
      arguments.always.set(kind_of(argv[i + 1]));
    } else if (name == "--with") {
      arguments.kinds.set(kind_of(argv[i + 1]));
    } else if (name == "--without") {
      arguments.kinds.set(kind_of(argv[i + 1]), false);
    } else if (name == "--replay") {
      arguments.replay = true;
    } else if (name == "--show") {
      arguments.show = true;
    } else if (name == "--expect") {
      arguments.expect_failure = true;
    } else {
      usage("unknown option", argv[i]);
    }
  }
  return arguments;
}

}  // namespace
}  // namespace vmcache::test

int main(int argc, char** argv) {
  using namespace vmcache::test;
  const Arguments arguments = parse(argc, argv);
  expect_failure = arguments.expect_failure;
  (void)std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  Schedule::on_stuck(end_at_once);
  std::signal(SIGALRM, on_signal);
  if (expect_failure) {
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS}) std::signal(number, on_signal);
  }
  const Totals totals = Simulation(arguments).run();
  std::printf("%lu of them in a later life or a recovery, %lu with files that were refused\n",
              static_cast<unsigned long>(totals.later), static_cast<unsigned long>(totals.refused));
  std::printf("%lu crash points, %lu lost, %lu errors\n", static_cast<unsigned long>(totals.points),
              static_cast<unsigned long>(totals.lost), static_cast<unsigned long>(totals.errors));
  const bool clean = totals.lost + totals.errors == 0;
  if (!expect_failure) return clean ? 0 : 1;
  std::printf(clean ? "the planted bug was NOT seen\n" : "the planted bug was seen\n");
  return clean ? 1 : 0;
}
