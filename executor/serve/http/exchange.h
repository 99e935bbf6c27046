// One request and its answer, as a handler sees the connection. Plain or streamed:
//
//   respond(response)   |   begin(head) write* finish()
//
// Every function may be called from any thread and returns at once; calls of one thread take effect in order, on the
// server's thread. After the client has gone they do nothing.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "executor/serve/http/message.h"

namespace exo::serve::http {

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual void respond(Response response) = 0;

  /// head.body is ignored. `keep_alive` makes what is sent whenever nothing else was for `every`; on the server's thread.
  virtual void begin(Response head, std::chrono::milliseconds every, std::function<std::string()> keep_alive) = 0;
  /// A client that does not read is gone when more than the server's max_unread_bytes wait for it.
  virtual void write(std::string bytes) = 0;
  virtual void finish() = 0;

  /// Runs `work` on the server's thread: what all exchanges do there is done one at a time. Short, because all wait for it.
  virtual void post(std::function<void()> work) = 0;
  /// The same, `delay` from now, unless the exchange has ended by then.
  virtual void after(std::chrono::milliseconds delay, std::function<void()> work) = 0;
  /// At most once, on the server's thread, if the client goes before the answer's end; at once if it has gone.
  virtual void onGone(std::function<void()> gone) = 0;
};

/// What a server serves.
class Handler {
 public:
  virtual ~Handler() = default;
  /// On the server's thread, when the head is there: an answer ends the request before its body is read. Quick.
  virtual std::optional<Response> admit(const Request& head) = 0;
  /// On one of the server's workers. May answer later; an exchange that is let go without an answer is answered with 500.
  virtual void handle(Request request, std::shared_ptr<Exchange> exchange) = 0;
  /// What to say about a request that the server itself has to refuse. `head` may be empty, where it could not be read.
  virtual Response refusal(const Request& head, int status, const std::string& message) = 0;
};

}  // namespace exo::serve::http
