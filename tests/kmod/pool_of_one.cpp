// SPDX-License-Identifier: MIT
// Small pools work to the last frame, from one frame up, with every interface.
#include "exmap_test.h"

using namespace exmap_test;

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  for (std::uint64_t frames = 1; frames <= 9; frames++) {
    const Exmap map({.frames = frames, .interfaces = 4, .area_pages = 64});
    for (int round = 0; round < 20; round++)
      for (int interface = 0; interface < 4; interface++) map.check_all_frames(interface, frames);
  }
  ledger.check_balanced();
  return 0;
}
