#include "bench/load/crowd.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>

namespace exo::load {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSlowReceiveBuffer = 4096;   // so that what is not read stays with the server

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family = AF_UNSPEC;
};

Result<Address> resolve(const Target& target) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &found) != 0 || found == nullptr)
    return makeError(ErrorCode::kNotFound, "\"", target.host, "\" has no address");
  Address address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  address.family = found->ai_family;
  ::freeaddrinfo(found);
  return address;
}

/// One client on its way through its visits. Never blocks.
class Walk {
 public:
  enum class Repeat { kNo, kUntilStopped };
  Walk(const Address& address, const Client& client, Seconds patience, Repeat repeat) : address_(address), client_(client), patience_(patience), repeats_(repeat == Repeat::kUntilStopped) { await(); }
  ~Walk() { close(false); }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  bool done() const { return state_ == State::kDone; }
  /// What it waits for: a descriptor (-1: none) and a time.
  pollfd waitsFor() const {
    switch (state_) {
      case State::kSending: return {fd_, static_cast<short>(POLLOUT | POLLIN), 0};
      case State::kReading: return {fd_, POLLIN, 0};
      default: return {-1, 0, 0};
    }
  }
  Clock::time_point wakes() const { return state_ == State::kPausing || state_ == State::kLooksAway ? wake_ : deadline_; }

  void step(short events) {
    const auto now = Clock::now();
    if (state_ == State::kPausing && now >= wake_) return begin(now);
    if (state_ == State::kLooksAway && now >= wake_) state_ = State::kReading;
    if (state_ == State::kPausing || state_ == State::kLooksAway || done()) return;
    if (now >= deadline_) return end(VisitOutcome::End::kTimedOut);
    if (state_ == State::kSending && (events & (POLLOUT | POLLERR | POLLHUP))) send();
    if ((state_ == State::kSending || state_ == State::kReading) && (events & (POLLIN | POLLERR | POLLHUP))) read();
  }

  /// Ends a client that repeats its visits, after the one it is at.
  void stop() {
    repeats_ = false;
    stopped_ = true;
    if (state_ == State::kPausing) state_ = State::kDone;
  }

  std::vector<VisitOutcome> take() { return std::move(outcomes_); }

 private:
  enum class State { kPausing, kSending, kReading, kLooksAway, kDone };

  const Visit& visit() const { return client_[outcomes_.size() % client_.size()]; }

  void await() {
    if (stopped_ || (!repeats_ && outcomes_.size() == client_.size())) {
      state_ = State::kDone;
      return;
    }
    state_ = State::kPausing;
    wake_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(visit().pause);
  }

  void begin(Clock::time_point now) {
    outcome_ = {.kind = visit().kind, .wanted_tokens = visit().wants_tokens};
    sent_ = 0;
    line_.clear();
    in_head_ = true;
    finished_ = false;
    begun_ = now;
    deadline_ = now + std::chrono::duration_cast<Clock::duration>(patience_ + visit().read_pause);
    fd_ = ::socket(address_.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return end(VisitOutcome::End::kBroken);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (visit().kind == Visit::Kind::kSlow) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &kSlowReceiveBuffer, sizeof kSlowReceiveBuffer);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address_.storage), address_.size) != 0 && errno != EINPROGRESS) return end(VisitOutcome::End::kBroken);
    state_ = State::kSending;
  }

  void send() {
    const bool leaves_early = visit().kind == Visit::Kind::kAbort && visit().leave_after_pieces < 0;
    const size_t wanted = leaves_early ? visit().bytes.size() / 2 : visit().bytes.size();
    const ssize_t count = ::send(fd_, visit().bytes.data() + sent_, wanted - sent_, MSG_NOSIGNAL);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count < 0) {   // refused before it was all there, maybe with an answer
      state_ = State::kReading;
      return;
    }
    sent_ += static_cast<size_t>(count);
    if (sent_ < wanted) return;
    state_ = State::kReading;
    if (visit().kind == Visit::Kind::kAbort && visit().leave_after_pieces <= 0) leave();
  }

  void read() {
    char buffer[65536];
    const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count <= 0) return end(finished_ ? VisitOutcome::End::kWhole : VisitOutcome::End::kBroken);
    take({buffer, static_cast<size_t>(count)});
  }

  void take(std::string_view bytes) {
    while (!bytes.empty() && (state_ == State::kReading || state_ == State::kSending || state_ == State::kLooksAway)) {
      const size_t end = bytes.find('\n');
      line_ += bytes.substr(0, end);
      if (end == std::string_view::npos) return;
      bytes.remove_prefix(end + 1);
      takeLine();
      line_.clear();
    }
  }

  /// Lines of the head, of events, and of the chunks around them, which hold whole events.
  void takeLine() {
    std::string_view line = line_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (in_head_ && outcome_.status == 0 && line.starts_with("HTTP/1.1 ")) std::from_chars(line.data() + 9, line.data() + line.size(), outcome_.status);
    if (in_head_ && line.empty()) return headEnded();
    if (line == "data: [DONE]") finished_ = true;
    if (line.starts_with("data: {")) takeEvent(line);
  }

  void headEnded() {
    in_head_ = false;
    const bool streams = visit().kind != Visit::Kind::kMalformed && visit().kind != Visit::Kind::kHealth && outcome_.status == 200;
    finished_ = !streams && outcome_.status != 0;
    if (visit().kind != Visit::Kind::kSlow || !streams) return;
    state_ = State::kLooksAway;
    wake_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(visit().read_pause);
  }

  void takeEvent(std::string_view line) {
    constexpr std::string_view kText = "\"text\":\"", kTokens = "\"completion_tokens\":";
    if (const size_t tokens = line.find(kTokens); tokens != std::string_view::npos)
      std::from_chars(line.data() + tokens + kTokens.size(), line.data() + line.size(), outcome_.tokens);
    const size_t text = line.find(kText);
    if (text == std::string_view::npos || text + kText.size() >= line.size() || line[text + kText.size()] == '"') return;
    outcome_.pieces_s.push_back(Seconds(Clock::now() - begun_).count());
    if (visit().kind == Visit::Kind::kAbort && static_cast<int>(outcome_.pieces_s.size()) >= visit().leave_after_pieces) leave();
  }

  void leave() { end(VisitOutcome::End::kLeft); }

  void end(VisitOutcome::End how) {
    outcome_.end = how;
    outcome_.end_s = Seconds(Clock::now() - begun_).count();
    close(how == VisitOutcome::End::kLeft && visit().reset);
    outcomes_.push_back(std::move(outcome_));
    await();
  }

  void close(bool reset) {
    if (fd_ < 0) return;
    const linger now{1, 0};
    if (reset) ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    ::close(fd_);
    fd_ = -1;
  }

  const Address& address_;
  const Client& client_;
  const Seconds patience_;
  bool repeats_ = false, stopped_ = false;
  State state_ = State::kPausing;
  Clock::time_point wake_, begun_, deadline_;
  int fd_ = -1;
  size_t sent_ = 0;
  std::string line_;
  bool in_head_ = true;
  bool finished_ = false;              // what came is all of an answer
  VisitOutcome outcome_;
  std::vector<VisitOutcome> outcomes_;
};

int millisecondsUntil(Clock::time_point time) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(time - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1000));
}

}  // namespace

Result<Target> parseTarget(const std::string& url) {
  const auto bad = [&] { return invalid("expected a server as http://HOST:PORT, got \"", url, "\""); };
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return bad();
  std::string rest = url.substr(kScheme.size());
  if (rest.ends_with('/')) rest.pop_back();
  const size_t colon = rest.rfind(':');
  if (colon == std::string::npos || colon == 0) return bad();
  Target target{rest.substr(0, colon)};
  if (target.host.starts_with('[') && target.host.ends_with(']')) target.host = target.host.substr(1, target.host.size() - 2);
  const auto parsed = std::from_chars(rest.data() + colon + 1, rest.data() + rest.size(), target.port);
  if (parsed.ec != std::errc() || parsed.ptr != rest.data() + rest.size() || target.port == 0) return bad();
  return target;
}

Result<std::vector<std::vector<VisitOutcome>>> run(const Target& target, const std::vector<Client>& clients, Seconds patience, const Client& watch) {
  EXO_ASSIGN(const Address address, resolve(target));
  if (clients.empty()) return std::vector<std::vector<VisitOutcome>>();
  std::vector<std::unique_ptr<Walk>> walks;
  for (const Client& client : clients) walks.push_back(std::make_unique<Walk>(address, client, patience, Walk::Repeat::kNo));
  if (!watch.empty()) walks.push_back(std::make_unique<Walk>(address, watch, patience, Walk::Repeat::kUntilStopped));
  std::vector<pollfd> polled(walks.size());
  for (;;) {
    Clock::time_point next = Clock::time_point::max();
    const bool clients_done = std::all_of(walks.begin(), walks.begin() + static_cast<std::ptrdiff_t>(clients.size()), [](const auto& walk) { return walk->done(); });
    if (clients_done && !watch.empty()) walks.back()->stop();
    if (clients_done && walks.back()->done()) break;
    for (size_t i = 0; i < walks.size(); ++i) {
      polled[i] = walks[i]->waitsFor();
      if (!walks[i]->done()) next = std::min(next, walks[i]->wakes());
    }
    ::poll(polled.data(), polled.size(), millisecondsUntil(next));
    for (size_t i = 0; i < walks.size(); ++i) walks[i]->step(polled[i].revents);
  }
  std::vector<std::vector<VisitOutcome>> outcomes;
  for (const auto& walk : walks) outcomes.push_back(walk->take());
  return outcomes;
}

}  // namespace exo::load
