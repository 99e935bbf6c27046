// Passes an HTTP request to another server and its answer back, as it comes: head, pieces, end. A client that goes takes the other
// connection with it, so that the other server hears of it at once.
// Threads: start() from any; one thread for all transfers.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "executor/serve/http/exchange.h"

namespace exo {

class Relay {
 public:
  Relay();
  /// Breaks off what is under way.
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  /// `url`: the server's, without a path. `added`: headers of ours in the answer. `done` is called once, from any thread, when nothing more
  /// will come. `failure` makes the answer where the other server gives none.
  void start(const std::string& url, serve::http::Request request, serve::http::Headers added, std::shared_ptr<serve::http::Exchange> exchange, std::function<void()> done,
             std::function<serve::http::Response(const std::string& why)> failure);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace exo
