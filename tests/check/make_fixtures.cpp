// SPDX-License-Identifier: MIT
//
// Writes the fixtures of today's format into a folder; to be run, and its files committed, before a
// format changes.
// usage: make_fixtures FOLDER VERSION
#include <cstdio>
#include <cstdlib>

#include "check/fixture.hpp"

int main(int argc, char** argv) {
  using namespace vmcache::test;
  if (argc != 3) {
    std::fprintf(stderr, "usage: make_fixtures FOLDER VERSION\n");
    return 2;
  }
  const auto version = static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10));
  for (const FixtureKind kind : {FixtureKind::kClean, FixtureKind::kCrashed, FixtureKind::kPool}) {
    const Images images = make_fixture(kind);
    const auto names = names_of(version, kind);
    const std::filesystem::path folder = argv[1];
    save_fixture(images[Recorder::kPages], folder / names[Recorder::kPages]);
    if (kind != FixtureKind::kPool)
      save_fixture(images[Recorder::kLog], folder / names[Recorder::kLog]);
  }
  return 0;
}
