// SPDX-License-Identifier: MIT
// The tracepoints alloc, free, flush, steal and fault are there and tell what was done.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr const char* kTracing = "/sys/kernel/tracing";

std::uint64_t lines_with(const std::string& text, const char* word) {
  std::uint64_t lines = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
    lines++;
  return lines;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const std::string tracing = kTracing, events = tracing + "/events/exmap";
  if (access((tracing + "/trace").c_str(), R_OK) != 0) SKIP("this kernel has no tracing");
  for (const char* event : {"alloc", "free", "flush", "steal", "fault"})
    CHECK(access((events + "/exmap_" + event + "/enable").c_str(), W_OK) == 0,
          "there is no tracepoint exmap_%s", event);
  std::ofstream(tracing + "/trace") << "";  // empties it
  CHECK(write_text((events + "/enable").c_str(), "1"), "the events cannot be enabled: %s",
        strerror(errno));
  {
    const Exmap map({.frames = 8, .interfaces = 2, .area_pages = 64});
    for (int i = 0; i < 3; i++) {
      CHECK_RESULT(0, map.alloc(0, 0, 8));
      CHECK_RESULT(0, map.free(0, 0, 8));
    }
    CHECK_RESULT(0, map.alloc(1, 0, 8));  // all rest with interface 0
    std::uint64_t value = 0;
    CHECK(try_read(map.word(20), value) != 0, "an unmapped page is readable");
  }
  CHECK(write_text((events + "/enable").c_str(), "0"), "the events cannot be disabled: %s",
        strerror(errno));
  std::ifstream file(tracing + "/trace");
  const std::string trace((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::printf("# %llu alloc, %llu free, %llu flush, %llu steal, %llu fault\n",
              ull(lines_with(trace, "exmap_alloc:")), ull(lines_with(trace, "exmap_free:")),
              ull(lines_with(trace, "exmap_flush:")), ull(lines_with(trace, "exmap_steal:")),
              ull(lines_with(trace, "exmap_fault:")));
  CHECK(lines_with(trace, "exmap_alloc:") == 4, "4 ALLOCs were made");
  CHECK(lines_with(trace, "exmap_free:") == 3, "3 FREEs were made");
  CHECK(lines_with(trace, "exmap_flush:") == 3, "3 flushes were due");
  CHECK(lines_with(trace, "exmap_steal:") >= 1, "interface 1 had to steal");
  CHECK(lines_with(trace, "exmap_fault:") == 1, "1 fault was taken");
  return 0;
}
