// SPDX-License-Identifier: MIT
// A client of the published ABI runs unmodified: setup and mmap in either order, interfaces mapped
// one by one, `ioctl < 0` means "evict, then try again", `pread(fd, address, 4096, interface)`
// faults a page in and returns 4096. Written as such a client is, with its own calls, on purpose
// without the helpers for them.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr unsigned kThreads = 4;
constexpr std::uint64_t kDatabasePages = 512, kFrames = 64, kEvictBatch = 16;

struct Client {
  int exmap_fd = -1;
  char* memory = nullptr;
  exmap_user_interface* interfaces[kThreads] = {};
  std::atomic<bool> resident[kDatabasePages] = {};
  std::atomic<bool> latched[kDatabasePages] = {};
  std::atomic<std::uint64_t> hand{0}, faults{0}, evictions{0};

  void open(int file, bool map_first) {
    exmap_fd = ::open("/dev/exmap", O_RDWR);
    CHECK(exmap_fd >= 0, "open: %s", strerror(errno));
    if (map_first) map();
    exmap_ioctl_setup buffer{};
    buffer.fd = file;
    buffer.max_interfaces = kThreads;
    buffer.buffer_size = kFrames;
    // As two published clients do, which never set the field.
    std::memset(&buffer.flags, 0xa5, sizeof buffer.flags);
    CHECK(ioctl(exmap_fd, EXMAP_IOCTL_SETUP, &buffer) >= 0, "setup: %s", strerror(errno));
    if (!map_first) map();
    for (unsigned i = 0; i < kThreads; i++) {
      interfaces[i] = static_cast<exmap_user_interface*>(
          mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, exmap_fd,
               static_cast<off_t>(EXMAP_OFF_INTERFACE(static_cast<unsigned long>(i)))));
      CHECK(interfaces[i] != MAP_FAILED, "interface: %s", strerror(errno));
    }
  }
  void map() {
    memory = static_cast<char*>(
        mmap(nullptr, kDatabasePages * kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, exmap_fd, 0));
    CHECK(memory != MAP_FAILED, "mmap: %s", strerror(errno));
  }
  int action(unsigned thread, exmap_opcode opcode, unsigned count) {
    exmap_action_params params{};
    params.interface = static_cast<std::uint16_t>(thread);
    params.iov_len = static_cast<std::uint16_t>(count);
    params.opcode = static_cast<std::uint16_t>(opcode);
    return ioctl(exmap_fd, EXMAP_IOCTL_ACTION, &params);
  }
  void evict(unsigned thread) {
    unsigned count = 0;
    for (std::uint64_t tries = 0; count < kEvictBatch && tries < kDatabasePages * 2; tries++) {
      const std::uint64_t page = hand++ % kDatabasePages;
      if (!resident[page] || latched[page].exchange(true)) continue;
      if (!resident[page]) {
        latched[page] = false;
        continue;
      }
      interfaces[thread]->iov[count].page = page;
      interfaces[thread]->iov[count].len = 1;
      victims[thread][count++] = page;
    }
    if (!count) return;
    CHECK(action(thread, EXMAP_OP_FREE, count) >= 0, "FREE: %s", strerror(errno));
    for (unsigned i = 0; i < count; i++) {
      CHECK(interfaces[thread]->iov[i].res == 0, "FREE of page %llu: res %d",
            ull(victims[thread][i]), interfaces[thread]->iov[i].res);
      resident[victims[thread][i]] = false;
      latched[victims[thread][i]] = false;
    }
    evictions += count;
  }
  std::uint64_t victims[kThreads][kEvictBatch] = {};

  void fault(unsigned thread, std::uint64_t page) {
    for (;;) {
      const ssize_t bytes = pread(exmap_fd, memory + page * kPageSize, kPageSize, thread);
      if (bytes == static_cast<ssize_t>(kPageSize)) break;
      CHECK(bytes < 0 && errno == ENOMEM, "pread gave %zd: %s", bytes, strerror(errno));
      evict(thread);
    }
    faults++;
    resident[page] = true;
  }
  void alloc(unsigned thread, std::uint64_t page) {
    interfaces[thread]->iov[0].page = page;
    interfaces[thread]->iov[0].len = 1;
    while (action(thread, EXMAP_OP_ALLOC, 1) < 0) {
      evict(thread);
      interfaces[thread]->iov[0].page = page;
      interfaces[thread]->iov[0].len = 1;
    }
    CHECK(interfaces[thread]->iov[0].res == 0 && interfaces[thread]->iov[0].pages == 1,
          "ALLOC: res %d, pages %d", interfaces[thread]->iov[0].res,
          interfaces[thread]->iov[0].pages);
    resident[page] = true;
  }
};

void work(Client& client, unsigned thread, std::uint64_t rounds) {
  Random random(thread + 1);
  for (std::uint64_t i = 0; i < rounds; i++) {
    const std::uint64_t page = random.below(kDatabasePages);
    if (client.latched[page].exchange(true)) continue;
    char* const address = client.memory + page * kPageSize;
    if (!client.resident[page]) {
      if (random.below(8) == 0) {
        client.alloc(thread, page);
        fill_page(address, page + 1);  // as a newly made page with the same content
      } else {
        client.fault(thread, page);
      }
    }
    CHECK(page_holds(address, page + 1), "page %llu shows 0x%llx", ull(page),
          ull(*reinterpret_cast<std::uint64_t*>(address)));
    client.latched[page] = false;
  }
}

int database(const std::string& device) {
  if (device.empty()) return memory_file(kDatabasePages);
  const int file = ::open(device.c_str(), O_RDWR | O_DIRECT);
  CHECK(file >= 0, "open %s: %s", device.c_str(), strerror(errno));
  write_pages(file, kDatabasePages);
  return file;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t rounds =
      options.scaled("page accesses a thread, 4 threads, pool an eighth of the pages", 5000);
  const Ledger ledger;
  for (const bool map_first : {false, true}) {
    auto* const client = new Client;
    const int file = database(options.text("device", ""));
    client->open(file, map_first);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; i++)
      threads.emplace_back([&, i] { work(*client, i, rounds); });
    for (auto& thread : threads) thread.join();
    std::printf("# %s first: %llu faults, %llu evictions\n", map_first ? "mmap" : "setup",
                ull(client->faults), ull(client->evictions));
    CHECK(client->faults > 0 && client->evictions > 0, "nothing was faulted or evicted");
    for (auto* interface : client->interfaces) munmap(interface, kPageSize);
    munmap(client->memory, kDatabasePages * kPageSize);
    close(client->exmap_fd);
    close(file);
    delete client;
  }
  ledger.check_balanced();
  return 0;
}
