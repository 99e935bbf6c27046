#include "executor/status_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

namespace exo {
namespace {

/// Bytes of a message that are not UTF-8 (a file name) become U+FFFD instead of an exception.
std::string lineOf(const nlohmann::ordered_json& event) {
  return event.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

Status StatusPipe::check(int fd) {
  if (fd < 0) return {};
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return invalid("--status_fd: descriptor ", fd, " is not open");
  return {};
}

void StatusPipe::write(const std::string& line) {
  const std::lock_guard lock(mutex_);
  size_t done = 0;
  while (fd_ >= 0 && done < line.size()) {
    const ssize_t written = ::write(fd_, line.data() + done, line.size() - done);
    if (written > 0) {
      done += static_cast<size_t>(written);
    } else if (errno != EINTR) {
      fd_ = -1;  // the parent has gone, or does not read: that is no reason to stop working
    }
  }
}

void StatusPipe::listening(const std::string& address) { write(lineOf({{"event", "listening"}, {"address", address}})); }

void StatusPipe::loading(uint64_t done_bytes, uint64_t total_bytes) {
  write(lineOf({{"event", "loading"}, {"done", done_bytes}, {"total", total_bytes}}));
}

void StatusPipe::link(const std::string& to, const std::string& transport, const std::string& why) {
  write(lineOf({{"event", "link"}, {"to", to}, {"transport", transport}, {"why", why}}));
}

void StatusPipe::serving(const std::string& url) { write(lineOf({{"event", "serving"}, {"url", url}})); }

void StatusPipe::ready(const std::string& node, uint32_t rank, uint64_t memory_bytes) {
  write(lineOf({{"event", "ready"}, {"node", node}, {"rank", rank}, {"memory", memory_bytes}}));
}

void StatusPipe::error(const Error& error) {
  write(lineOf({{"event", "error"}, {"code", name(error.code())}, {"message", error.message()}}));
}

}  // namespace exo
