// The only file that includes Boost.Beast. Everything of a Session happens on the one thread of the io_context, so sessions
// have no locks; the workers touch them only through an Exchange, which posts.
#include "executor/serve/http/server.h"

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <future>
#include <iostream>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "executor/serve/http/content_coding.h"

namespace exo::serve::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using asio::ip::tcp;
using std::chrono::milliseconds;

// What a client may send ahead of the answer to its last request; beyond it, its going away is seen only when we write.
constexpr size_t kMaxAheadBytes = 64 * 1024;
// How long bytes that nobody wants are read after the last answer: closing earlier would reset the connection, and the
// client might never see that answer.
constexpr milliseconds kLinger{2000};

class Session;

struct Counters {
  std::atomic<uint64_t> connections{0}, requests{0}, gone{0}, overflowed{0};
  std::atomic<int64_t> open{0};
};

/// The way from an Exchange to the server's thread. Handlers may keep exchanges longer than the server lives: then it is shut.
class Gate {
 public:
  explicit Gate(asio::io_context& io) : io_(&io) {}
  template <class Work>
  void post(Work work) {
    const std::lock_guard lock(mutex_);
    if (io_) asio::post(*io_, std::move(work));
  }
  void shut() {
    const std::lock_guard lock(mutex_);
    io_ = nullptr;
  }

 private:
  std::mutex mutex_;
  asio::io_context* io_;
};

/// What all sessions share.
struct Shared {
  const ServerOptions& options;
  Handler& handler;
  asio::io_context& io;
  asio::thread_pool& workers;
  Counters& counters;
  std::shared_ptr<Gate> gate;
  std::set<std::shared_ptr<Session>> sessions;   // on the server's thread only
  bool draining = false;
  std::function<void()> on_session_end;
};

class SessionExchange;

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Shared& shared)
      : socket_(std::move(socket)), shared_(shared), read_timer_(shared.io), write_timer_(shared.io) {}

  void start() {
    error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    readHead(shared_.options.head_timeout);
  }
  /// Answers without having read anything, and closes.
  void refuseConnection() {
    keep_alive_ = false;
    plain(shared_.handler.refusal(head_, 503, "the server has as many connections as it takes; try again later"));
  }
  void close();
  /// Ends it now, or after the answer to a request that has come.
  void drain() {
    keep_alive_ = false;
    if (state_ == State::kReading && !reading_body_) close();
  }

  // Of the exchange, on the server's thread.
  bool gone() const { return state_ == State::kClosed; }
  void plain(Response response);
  void begin(Response head, milliseconds every, std::function<std::string()> keep_alive);
  void write(std::string bytes);
  void finish();
  void unanswered();
  void onGone(std::function<void()> gone) {
    if (state_ == State::kHandling || state_ == State::kStreaming) on_gone_ = std::move(gone);
  }
  void after(milliseconds delay, std::function<void()> work);
  uint64_t exchangeNumber() const { return exchange_number_; }

 private:
  enum class State { kReading, kHandling, kStreaming, kFlushing, kLingering, kClosed };

  void readHead(milliseconds timeout);
  void headRead(error_code error);
  void readBody();
  void bodyRead(error_code error);
  void refuse(int status, const std::string& message);
  void dispatch();
  void watch();
  void clientGone();
  void send(std::string bytes);
  void flush();
  void writeSome();
  void wroteSome(error_code error, size_t bytes);
  void answered();
  void nextRequest();
  void linger();
  void heartbeat();
  void expire(asio::steady_timer& timer, milliseconds timeout, void (Session::*then)());
  void readTimedOut();
  After after() const { return keep_alive_ ? After::kKeepAlive : After::kClose; }

  tcp::socket socket_;
  Shared& shared_;
  beast::flat_buffer buffer_{kMaxAheadBytes + 128 * 1024};
  std::optional<beast::http::request_parser<beast::http::string_body>> parser_;
  asio::steady_timer read_timer_, write_timer_;
  State state_ = State::kReading;
  Request head_;
  bool reading_body_ = false;
  bool keep_alive_ = true, head_only_ = false, chunked_ = false;
  bool watching_ = false, next_wanted_ = false, writing_ = false;
  uint64_t exchange_number_ = 0;
  std::deque<std::string> outbox_;
  std::string in_flight_;
  size_t in_flight_sent_ = 0;
  size_t unread_bytes_ = 0;
  std::function<void()> on_gone_;
  // Of a stream.
  std::function<std::string()> keep_alive_text_;
  milliseconds keep_alive_every_{0};
  std::shared_ptr<asio::steady_timer> heartbeat_timer_;
  std::vector<std::shared_ptr<asio::steady_timer>> timers_;
};

/// The handler's end of a session, for one request. Sessions belong to the server's thread; this only points to one.
class SessionExchange final : public Exchange, public std::enable_shared_from_this<SessionExchange> {
 public:
  SessionExchange(const std::shared_ptr<Session>& session, std::shared_ptr<Gate> gate)
      : session_(session), gate_(std::move(gate)), number_(session->exchangeNumber()) {}
  ~SessionExchange() override {
    // Whatever was asked of it has been done by now: what was posted holds it.
    gate_->post([weak = session_, number = number_] {
      const auto session = weak.lock();
      if (session && session->exchangeNumber() == number) session->unanswered();
    });
  }

  void respond(Response response) override {
    run([response = std::move(response)](Session& session) mutable { session.plain(std::move(response)); });
  }
  void begin(Response head, milliseconds every, std::function<std::string()> keep_alive) override {
    run([head = std::move(head), every, keep_alive = std::move(keep_alive)](Session& session) mutable {
      session.begin(std::move(head), every, std::move(keep_alive));
    });
  }
  void write(std::string bytes) override {
    run([bytes = std::move(bytes)](Session& session) mutable { session.write(std::move(bytes)); });
  }
  void finish() override {
    run([](Session& session) { session.finish(); });
  }
  void post(std::function<void()> work) override { gate_->post(std::move(work)); }
  void after(milliseconds delay, std::function<void()> work) override {
    run([delay, work = std::move(work)](Session& session) mutable { session.after(delay, std::move(work)); });
  }
  void onGone(std::function<void()> gone) override {
    gate_->post([self = shared_from_this(), gone = std::move(gone)]() mutable {
      const auto session = self->session_.lock();
      if (!session || session->gone()) return gone();
      if (session->exchangeNumber() == self->number_) session->onGone(std::move(gone));
    });
  }

 private:
  template <class Work>
  void run(Work work) {
    gate_->post([self = shared_from_this(), work = std::move(work)]() mutable {
      const auto session = self->session_.lock();
      if (session && session->exchangeNumber() == self->number_ && !session->gone()) work(*session);
    });
  }

  const std::weak_ptr<Session> session_;
  const std::shared_ptr<Gate> gate_;
  const uint64_t number_;
};

// Reading.

void Session::expire(asio::steady_timer& timer, milliseconds timeout, void (Session::*then)()) {
  timer.expires_after(timeout);
  timer.async_wait([self = shared_from_this(), &timer, then](error_code error) {
    // A handler that was queued already hears of no cancelling: the timer's own time decides.
    const bool due = timer.expiry() <= std::chrono::steady_clock::now();
    if (!error && due && self->state_ != State::kClosed) (self.get()->*then)();
  });
}

void stop(asio::steady_timer& timer) { timer.expires_at(asio::steady_timer::time_point::max()); }

void Session::readHead(milliseconds timeout) {
  state_ = State::kReading;
  head_ = {};
  reading_body_ = false;
  ++exchange_number_;
  parser_.emplace();
  parser_->header_limit(shared_.options.max_head_bytes);
  parser_->body_limit(shared_.options.max_body_bytes);
  expire(read_timer_, timeout, &Session::readTimedOut);
  beast::http::async_read_header(socket_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) { self->headRead(error); });
}

/// A client that has begun a request hears why it is refused.
void Session::readTimedOut() {
  if (!reading_body_) return close();
  error_code ignored;
  socket_.cancel(ignored);
  refuse(408, "the body did not come in time");
}

/// What the parser has of the head so far, even if it was refused.
Request headOf(const beast::http::request_parser<beast::http::string_body>& parser) {
  const auto& message = parser.get();
  Request head;
  head.method = std::string(message.method_string());
  for (const auto& field : message) head.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  const auto target = parseTarget(std::string_view(message.target().data(), message.target().size()));
  if (!target.ok()) return head;
  head.path = target->path;
  head.query = target->query;
  return head;
}

/// Nobody is there any more to hear of the error.
bool connectionLost(error_code error) {
  namespace http = beast::http;
  return error && (error.category() == asio::error::get_system_category() || error == asio::error::eof || error == http::error::end_of_stream ||
                   error == http::error::partial_message);
}

void Session::headRead(error_code error) {
  if (state_ != State::kReading) return;
  namespace http = beast::http;
  if (connectionLost(error)) return close();
  head_ = headOf(*parser_);
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return refuse(431, "the head of the request is too large");
  if (error == http::error::body_limit) return refuse(413, "the body is larger than " + std::to_string(shared_.options.max_body_bytes) + " bytes");
  if (error) return refuse(400, "not an HTTP request: " + error.message());
  const auto& message = parser_->get();
  keep_alive_ = message.keep_alive() && !shared_.draining;
  chunked_ = message.version() >= 11;
  const auto target = parseTarget(std::string_view(message.target().data(), message.target().size()));
  if (!target.ok()) return refuse(400, target.error().message());
  if (chunked_ && !head_.header("Host")) return refuse(400, "HTTP/1.1 requests need a Host header");
  if (std::optional<Response> answer = shared_.handler.admit(head_)) {
    if (!parser_->is_done()) keep_alive_ = false;  // the body stays unread
    ++shared_.counters.requests;
    head_only_ = head_.method == "HEAD";
    stop(read_timer_);
    return plain(std::move(*answer));
  }
  readBody();
}

void Session::readBody() {
  if (const std::string* expected = head_.header("Expect")) {
    if (!equalsIgnoringCase(*expected, "100-continue")) return refuse(417, "Expect: only 100-continue is known");
    if (!parser_->is_done()) send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  reading_body_ = true;
  expire(read_timer_, shared_.options.body_timeout, &Session::readTimedOut);
  beast::http::async_read(socket_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) { self->bodyRead(error); });
}

void Session::bodyRead(error_code error) {
  if (state_ != State::kReading) return;
  stop(read_timer_);
  namespace http = beast::http;
  if (error == http::error::body_limit) return refuse(413, "the body is larger than " + std::to_string(shared_.options.max_body_bytes) + " bytes");
  if (connectionLost(error)) return close();
  if (error) return refuse(400, "not an HTTP request: " + error.message());
  dispatch();
}

void Session::refuse(int status, const std::string& message) {
  keep_alive_ = false;
  head_only_ = head_.method == "HEAD";
  ++shared_.counters.requests;
  stop(read_timer_);
  plain(shared_.handler.refusal(head_, status, message));
}

int statusOf(const Error& error) {
  if (error.code() == ErrorCode::kDoesNotFit) return 413;
  return error.code() == ErrorCode::kUnsupported ? 415 : 400;
}

/// On a worker.
void work(Shared& shared, Request request, std::shared_ptr<Exchange> exchange) {
  try {
    if (const std::string* coding = request.header("Content-Encoding")) {
      auto body = decodeContent(std::move(request.body), *coding, shared.options.max_body_bytes);
      if (!body.ok()) return exchange->respond(shared.handler.refusal(request, statusOf(body.error()), body.error().message()));
      request.body = std::move(*body);
    }
    shared.handler.handle(std::move(request), exchange);
  } catch (const std::exception& failure) {  // of third parties: no memory, mostly
    exchange->respond(shared.handler.refusal({}, 500, failure.what()));
  }
}

void Session::dispatch() {
  ++shared_.counters.requests;
  state_ = State::kHandling;
  head_only_ = head_.method == "HEAD";
  Request request = head_;
  request.body = std::move(parser_->get().body());
  auto exchange = std::make_shared<SessionExchange>(shared_from_this(), shared_.gate);
  asio::post(shared_.workers, [&shared = shared_, request = std::move(request), exchange = std::move(exchange)]() mutable {
    work(shared, std::move(request), std::move(exchange));
  });
  watch();
}

/// A read is kept pending while a request is handled, so that a client that goes away is noticed at once.
void Session::watch() {
  if (buffer_.size() >= kMaxAheadBytes) return;
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(4096), [self = shared_from_this()](error_code error, size_t bytes) {
    self->watching_ = false;
    if (self->state_ == State::kClosed) return;
    self->buffer_.commit(bytes);
    if (error && error != asio::error::operation_aborted) return self->clientGone();
    if (self->next_wanted_) return self->nextRequest();
    if (self->state_ == State::kHandling || self->state_ == State::kStreaming || self->state_ == State::kFlushing) self->watch();
  });
}

void Session::clientGone() {
  if (state_ == State::kHandling || state_ == State::kStreaming) ++shared_.counters.gone;
  close();
}

// Writing.

void Session::send(std::string bytes) {
  if (bytes.empty()) return;
  unread_bytes_ += bytes.size();
  outbox_.push_back(std::move(bytes));
  if (!writing_) flush();
}

void Session::flush() {
  in_flight_.clear();
  in_flight_sent_ = 0;
  for (std::string& piece : outbox_) in_flight_ += piece;
  outbox_.clear();
  writing_ = true;
  writeSome();
}

/// Whatever the client takes is progress.
void Session::writeSome() {
  expire(write_timer_, shared_.options.write_timeout, &Session::clientGone);
  const auto rest = asio::buffer(in_flight_) + in_flight_sent_;
  socket_.async_write_some(rest, [self = shared_from_this()](error_code error, size_t bytes) { self->wroteSome(error, bytes); });
}

void Session::wroteSome(error_code error, size_t bytes) {
  stop(write_timer_);
  if (state_ == State::kClosed) return;
  if (error) return clientGone();
  unread_bytes_ -= bytes;
  in_flight_sent_ += bytes;
  if (in_flight_sent_ < in_flight_.size()) return writeSome();
  writing_ = false;
  if (!outbox_.empty()) return flush();
  if (state_ == State::kFlushing) answered();
}

void Session::plain(Response response) {
  if (state_ != State::kReading && state_ != State::kHandling) return;
  state_ = State::kFlushing;
  on_gone_ = nullptr;
  timers_.clear();
  std::string bytes = responseHead(response, response.body.size(), after());
  if (!head_only_ && response.status != 204 && response.status != 304) bytes += response.body;
  send(std::move(bytes));
}

void Session::begin(Response head, milliseconds every, std::function<std::string()> keep_alive) {
  if (state_ != State::kHandling) return;
  state_ = State::kStreaming;
  if (!chunked_) keep_alive_ = false;
  keep_alive_every_ = every;
  keep_alive_text_ = std::move(keep_alive);
  send(streamHead(head, chunked_ ? Framing::kChunked : Framing::kUntilClose, after()));
  heartbeat();
}

void Session::heartbeat() {
  if (!heartbeat_timer_) heartbeat_timer_ = std::make_shared<asio::steady_timer>(shared_.io);
  heartbeat_timer_->expires_after(keep_alive_every_);
  heartbeat_timer_->async_wait([self = shared_from_this(), number = exchange_number_](error_code error) {
    if (error || self->state_ != State::kStreaming || self->exchange_number_ != number) return;
    self->write(self->keep_alive_text_());
    if (self->state_ == State::kStreaming) self->heartbeat();
  });
}

void Session::write(std::string bytes) {
  if (state_ != State::kStreaming || bytes.empty()) return;
  if (!head_only_) send(chunked_ ? chunk(bytes) : std::move(bytes));
  if (unread_bytes_ > shared_.options.max_unread_bytes) {
    ++shared_.counters.overflowed;
    return clientGone();
  }
  heartbeat();
}

void Session::finish() {
  if (state_ != State::kStreaming) return;
  state_ = State::kFlushing;
  on_gone_ = nullptr;
  keep_alive_text_ = nullptr;
  timers_.clear();
  heartbeat_timer_.reset();
  if (chunked_ && !head_only_) send(std::string(kLastChunk));
  if (!writing_) answered();
}

void Session::unanswered() {
  if (state_ == State::kHandling) plain(shared_.handler.refusal(head_, 500, "the request was not answered"));
  if (state_ == State::kStreaming) clientGone();  // an end that the client can tell from an orderly one
}

void Session::after(milliseconds delay, std::function<void()> work) {
  if (state_ != State::kHandling && state_ != State::kStreaming) return;
  auto timer = std::make_shared<asio::steady_timer>(shared_.io, delay);
  timers_.push_back(timer);
  timer->async_wait([self = shared_from_this(), work = std::move(work), number = exchange_number_, weak = std::weak_ptr(timer)](error_code error) {
    std::erase(self->timers_, weak.lock());
    if (!error && self->exchange_number_ == number && (self->state_ == State::kHandling || self->state_ == State::kStreaming)) work();
  });
}

// Between requests, and the end.

void Session::answered() {
  if (!keep_alive_ || shared_.draining) return linger();
  if (!watching_) return nextRequest();
  next_wanted_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

void Session::nextRequest() {
  next_wanted_ = false;
  readHead(shared_.options.idle_timeout);
}

void Session::linger() {
  if (state_ == State::kLingering) return;
  state_ = State::kLingering;
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  socket_.cancel(ignored);
  expire(read_timer_, kLinger, &Session::close);
  auto discard = std::make_shared<std::function<void(error_code, size_t)>>();
  auto place = std::make_shared<std::array<char, 4096>>();
  *discard = [self = shared_from_this(), place, weak = std::weak_ptr(discard)](error_code error, size_t) {
    const auto again = weak.lock();
    if (error || !again || self->state_ == State::kClosed) return self->close();
    self->socket_.async_read_some(asio::buffer(*place), [again](error_code e, size_t n) { (*again)(e, n); });
  };
  (*discard)({}, 0);
}

void Session::close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  error_code ignored;
  socket_.close(ignored);
  stop(read_timer_);
  stop(write_timer_);
  timers_.clear();
  heartbeat_timer_.reset();
  keep_alive_text_ = nullptr;
  const auto gone = std::move(on_gone_);
  on_gone_ = nullptr;
  if (gone) gone();
  --shared_.counters.open;
  shared_.sessions.erase(shared_from_this());
  if (shared_.on_session_end) shared_.on_session_end();
}

}  // namespace

class Server::Impl {
 public:
  Impl(const ServerOptions& options, Handler& handler)
      : options_(options), acceptor_(io_), accept_pause_(io_), workers_(static_cast<size_t>(options.workers)),
        shared_{options_, handler, io_, workers_, counters_, std::make_shared<Gate>(io_), {}, false, nullptr} {}

  ~Impl() {
    asio::post(io_, [this] {
      error_code ignored;
      acceptor_.close(ignored);
      accept_pause_.cancel();
      shared_.draining = true;
      const auto sessions = shared_.sessions;
      for (const auto& session : sessions) session->close();
    });
    workers_.join();   // handlers see their clients gone
    work_.reset();
    if (thread_.joinable()) thread_.join();
    shared_.gate->shut();
  }

  Status listen() {
    error_code error;
    const auto address = asio::ip::make_address(options_.host, error);
    if (error) return invalid("the address to serve at: expected a literal address, got \"", options_.host, "\"");
    const tcp::endpoint endpoint(address, options_.port);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return makeError(ErrorCode::kIo, "cannot serve at ", options_.host, ":", options_.port, ": ", error.message());
    port_ = acceptor_.local_endpoint(error).port();
    accept();
    thread_ = std::thread([this] { run(); });
    return {};
  }

  void drain(milliseconds patience) {
    auto ended = std::make_shared<std::promise<void>>();
    auto all_ended = ended->get_future();
    asio::post(io_, [this, ended] {
      error_code ignored;
      acceptor_.close(ignored);
      shared_.draining = true;
      const auto report = [this, ended, told = false]() mutable {
        if (told || !shared_.sessions.empty()) return;
        told = true;
        ended->set_value();
      };
      shared_.on_session_end = report;
      const auto sessions = shared_.sessions;
      for (const auto& session : sessions) session->drain();
      shared_.on_session_end();
    });
    all_ended.wait_for(patience);
  }

  const ServerOptions& options() const { return options_; }
  uint16_t port() const { return port_; }
  ServerStats stats() const {
    return {counters_.connections, counters_.requests, counters_.gone, counters_.overflowed, counters_.open};
  }

 private:
  /// A connection for which there is no memory is lost; the others go on.
  void run() {
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception& failure) {
        std::cerr << "http: " << failure.what() << std::endl;
      }
    }
  }

  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) return pauseAccepting();
      take(std::move(socket));
      accept();
    });
  }

  /// Out of descriptors, as a rule: others must end first.
  void pauseAccepting() {
    accept_pause_.expires_after(milliseconds(100));
    accept_pause_.async_wait([this](error_code error) {
      if (!error && acceptor_.is_open()) accept();
    });
  }

  void take(tcp::socket socket) {
    const bool full = shared_.sessions.size() >= options_.max_connections;
    auto session = std::make_shared<Session>(std::move(socket), shared_);
    shared_.sessions.insert(session);
    ++counters_.connections;
    ++counters_.open;
    full ? session->refuseConnection() : session->start();
  }

  const ServerOptions options_;
  Counters counters_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  tcp::acceptor acceptor_;
  asio::steady_timer accept_pause_;
  asio::thread_pool workers_;
  Shared shared_;
  uint16_t port_ = 0;
  std::thread thread_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, Handler& handler) {
  auto impl = std::make_unique<Impl>(options, handler);
  EXO_TRY(impl->listen());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

const std::string& Server::host() const { return impl_->options().host; }
uint16_t Server::port() const { return impl_->port(); }
ServerStats Server::stats() const { return impl_->stats(); }
void Server::drain(milliseconds patience) { impl_->drain(patience); }

}  // namespace exo::serve::http
