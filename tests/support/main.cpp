// SPDX-License-Identifier: MIT
//
// Every test program's main(): GoogleTest's, and the choice of memory and storage back ends.
#include <gtest/gtest.h>

#include <cstdio>
#include <string_view>
#include <vector>

#include "logger.hpp"
#include "storage/device.hpp"
#include "support/options.hpp"

void vmcache::test::wipe_devices() {
  // Labels and the header lie there, and it is what is looked at (Device::blank()).
  constexpr std::size_t kBytes = 1 << 20;
  const std::vector<std::byte> buffer(kBytes + kPageSize);
  auto address = reinterpret_cast<std::uintptr_t>(buffer.data());
  address = (address + kPageSize - 1) & ~(kPageSize - 1);
  Logger silent({});
  for (const auto& path : default_devices) {
    const auto device = open_device(path, {}, silent);
    if (device->write(0, {reinterpret_cast<const std::byte*>(address), kBytes}) != 0 ||
        device->flush() != 0)
      throw std::runtime_error("cannot wipe " + path.string());
  }
}

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  using vmcache::MemoryKind;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--memory=auto") {
      vmcache::test::default_memory = MemoryKind::kAuto;
    } else if (argument == "--memory=anonymous") {
      vmcache::test::default_memory = MemoryKind::kAnonymous;
    } else if (argument == "--memory=exmap") {
      vmcache::test::default_memory = MemoryKind::kExmap;
    } else if (argument.starts_with("--device=")) {
      vmcache::test::default_devices.emplace_back(argument.substr(argument.find('=') + 1));
    } else {
      std::fprintf(stderr,
                   "%s: unknown argument '%s' (allowed: GoogleTest's, "
                   "--memory=auto|anonymous|exmap, --device=PATH)\n",
                   argv[0], argv[i]);
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
