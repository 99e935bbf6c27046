// An HTTP/1.1 server: connections, framing, limits and time-outs. Knows no path; a Handler answers.
// Threads: one for all connections, and a few workers that run the handler.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "executor/serve/http/exchange.h"

namespace exo::serve::http {

struct ServerOptions {
  std::string host = "127.0.0.1";                  // a literal address
  uint16_t port = 0;                               // 0: the system chooses
  int workers = 2;
  size_t max_connections = 1024;                   // beyond them: 503
  uint32_t max_head_bytes = 64 * 1024;             // 431
  size_t max_body_bytes = 32 * 1024 * 1024;        // 413; before and after decoding
  size_t max_unread_bytes = 1024 * 1024;           // of a stream that its client does not read
  std::chrono::milliseconds head_timeout{20'000};  // connected → the first request's head
  std::chrono::milliseconds idle_timeout{120'000}; // answer → the next request's head
  std::chrono::milliseconds body_timeout{120'000}; // head → body: 408
  std::chrono::milliseconds write_timeout{60'000}; // without any progress of a write
};

struct ServerStats {
  uint64_t connections = 0, requests = 0;          // since the start
  uint64_t gone = 0, overflowed = 0;               // clients that left before the answer's end; of them, those who did not read
  int64_t open_connections = 0;                    // now
};

class Server {
 public:
  /// `handler` outlives the server. Errors: kIo when the address cannot be listened at.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options, Handler& handler);
  /// Closes everything at once.
  ~Server();

  const std::string& host() const;
  uint16_t port() const;
  ServerStats stats() const;

  /// Takes no more connections or requests and waits until all answers are out, at most for `patience`.
  void drain(std::chrono::milliseconds patience);

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace exo::serve::http
