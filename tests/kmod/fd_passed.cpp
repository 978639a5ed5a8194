// SPDX-License-Identifier: MIT
// An exmap's fd in another process (SCM_RIGHTS): it reaches no page there, and keeps nothing after
// both are done.
#include "exmap_test.h"

#include <sys/socket.h>

using namespace exmap_test;

namespace {

union Control {
  char bytes[CMSG_SPACE(sizeof(int))];
  cmsghdr align;
};

void send_fd(int socket, int fd) {
  char byte = 0;
  iovec data{&byte, 1};
  Control control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  CHECK(sendmsg(socket, &message, 0) == 1, "sendmsg: %s", strerror(errno));
}

int receive_fd(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  Control control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  CHECK(recvmsg(socket, &message, 0) == 1, "recvmsg: %s", strerror(errno));
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

void receiver(int socket) {
  const int fd = receive_fd(socket);
  CHECK_REFUSED(call_action(fd, 0, EXMAP_OP_ALLOC, 1));
  CHECK_REFUSED(call_action(fd, 0, EXMAP_OP_FREE, 1));
  CHECK(map_area(fd, 64) == nullptr, "a second process maps the area");
  CHECK_REFUSED(call_setup(fd, 16, 1));
  char byte = 0;
  CHECK_REFUSED(result_of(pread(fd, &byte, 1, 0)));
  CHECK(write(socket, "x", 1) == 1, "write: %s", strerror(errno));
  CHECK(read(socket, &byte, 1) == 0, "the owner is to be gone now");
  CHECK_REFUSED(call_action(fd, 0, EXMAP_OP_ALLOC, 1));  // the last holder; its exit closes
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  int sockets[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0, "socketpair: %s", strerror(errno));
  // Forked before any exmap exists: no inheritance, only the passed fd.
  const pid_t other = spawn([&] {
    close(sockets[0]);
    receiver(sockets[1]);
  });
  close(sockets[1]);
  in_child("the owner", [&] {
    const Exmap map({.frames = 16, .area_pages = 64});
    CHECK_RESULT(0, map.alloc(0, 5));
    fill_page(map.page(5), 55);
    map.entry(0, 0).value = 0;
    send_fd(sockets[0], map.fd());
    char byte = 0;
    CHECK(read(sockets[0], &byte, 1) == 1, "the receiver did not get through");
    CHECK(page_holds(map.page(5), 55) && map.allocated() == 1,
          "the receiver changed the owner's pages");
    CHECK_RESULT(0, map.free(0, 5));
    map.check_all_frames(0, 16);
  });
  close(sockets[0]);
  CHECK_RESULT(0, wait_for(other));
  ledger.check_balanced();
  return 0;
}
