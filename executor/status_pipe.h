// Events for the process that started this one: one JSON object per line on a file descriptor.
//   {"event":"listening","address":"127.0.0.1:1234"}
//   {"event":"loading","done":bytes,"total":bytes}
//   {"event":"link","to":"b","transport":"tcp","why":"no verbs: ..."}
//   {"event":"serving","url":"http://127.0.0.1:52415"}
//   {"event":"ready","node":"a","rank":0,"memory":bytes}
//   {"event":"error","code":"peer lost","message":"..."}
// Threads: any; lines do not mix.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "ir/base/result.h"

namespace exo {

class StatusPipe {
 public:
  /// -1: nobody listens. The descriptor is not closed, and no child inherits it. kInvalidInput if it is not open.
  static Status check(int fd);
  explicit StatusPipe(int fd) : fd_(fd) {}

  void listening(const std::string& address);
  void loading(uint64_t done_bytes, uint64_t total_bytes);
  void link(const std::string& to, const std::string& transport, const std::string& why);
  void serving(const std::string& url);
  void ready(const std::string& node, uint32_t rank, uint64_t memory_bytes);
  void error(const Error& error);

 private:
  void write(const std::string& line);

  std::mutex mutex_;
  int fd_;
};

}  // namespace exo
