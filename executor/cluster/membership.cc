#include "executor/cluster/membership.h"

#include <openssl/rand.h>

#include "executor/cluster/address.h"
#include "executor/cluster/tls_log.h"
#include "executor/cluster/wire.h"
#include "executor/transport/listener.h"
#include "ir/base/version.h"

namespace exo::cluster {
namespace {

Error differs(const wire::Hello& hello, const std::string& coordinator, const char* what, const std::string& theirs,
              const std::string& ours, const char* advice) {
  return makeError(ErrorCode::kMismatch, ErrorScope::kJob, "node \"", hello.node(), "\" has ", what, " ", theirs, ", node \"",
                   coordinator, "\" (rank 0) has ", ours, "; ", advice);
}

Status checkHello(const wire::Hello& hello, const Roster& roster) {
  const std::string& coordinator = roster.nodes[0].name;
  if (hello.version() != kVersion) {
    return differs(hello, coordinator, "version", hello.version(), kVersion, "install the same version on every node");
  }
  if (hello.plan_hash() != roster.plan_hash) {
    return differs(hello, coordinator, "plan", shortHash(hello.plan_hash()), shortHash(roster.plan_hash),
                   "give every node the same plan directory");
  }
  const uint32_t rank = hello.rank();
  if (rank == 0 || rank >= roster.nodes.size() || roster.nodes[rank].name != hello.node()) {
    return invalid("node \"", hello.node(), "\" with rank ", rank, " is not a follower in the plan of \"", coordinator, "\"");
  }
  if (hello.program_hash() != roster.nodes[rank].program_hash) {
    return differs(hello, coordinator, "program", shortHash(hello.program_hash()), shortHash(roster.nodes[rank].program_hash),
                   "give every node the same plan directory");
  }
  if (hello.weights() != roster.weights) {
    return differs(hello, coordinator, "weights", "\"" + hello.weights() + "\"", "\"" + roster.weights + "\"",
                   "give every node the same --random_weights, or none");
  }
  return {};
}

/// The endpoint as others can dial it: a node that listens on all its addresses is reached where its call comes from.
Result<std::string> reachableEndpoint(const std::string& text, const std::string& host) {
  EXO_ASSIGN(transport::Endpoint endpoint, transport::Endpoint::parse(text));
  if (isUnspecified(endpoint.address)) endpoint.address = host;
  return endpoint.text();
}

Error cancelled(const StopSignal& stop) {
  return stop.error().value_or(makeError(ErrorCode::kCancelled, "stopping: ", stop.reason()));
}

}  // namespace

Membership::Membership(const Roster& roster, StopSignal& stop)
    : roster_(roster), stop_(stop), places_(roster.nodes.size()), end_(stop.onStop([this] { announceEnd(); })) {
  EXO_CHECK(!roster.nodes.empty()) << "a roster without nodes";
}

std::string Membership::describe(uint32_t rank) const {
  return "node \"" + roster_.nodes[rank].name + "\" (rank " + std::to_string(rank) + ")";
}

Status Membership::enter(const wire::Hello& hello, const std::string& host, std::shared_ptr<MemberLink> link) {
  EXO_TRY(checkHello(hello, roster_));
  EXO_ASSIGN(std::string endpoint, reachableEndpoint(hello.data_endpoint(), host));
  {
    const std::lock_guard lock(mutex_);
    if (stop_.requested()) return cancelled(stop_);
    Place& place = places_[hello.rank()];
    if (place.link != nullptr || epoch_begun_) {
      return invalid(describe(hello.rank()), " has already joined; is another process running as this node?");
    }
    place = {std::move(link), std::move(endpoint), false};
  }
  changed_.notify_all();
  return {};
}

void Membership::received(uint32_t rank, const wire::FromMember& message) {
  if (message.has_failed()) {
    Error error = fromWire(message.failed());
    stop_.fail(Error(error.code(), describe(rank) + ": " + error.message(), ErrorScope::kJob));
    return;
  }
  if (message.has_leaving()) {
    stop_.stop(describe(rank) + " was stopped: " + message.leaving().reason());
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (message.has_report()) {
      places_[rank].report = fromWire(message.report());
      return;   // no progress: who only reports may be stuck
    }
    ++progress_;
    if (message.has_loading()) places_[rank].loading = {message.loading().done_bytes(), message.loading().total_bytes()};
    if (message.has_ready()) places_[rank].ready = true;
  }
  changed_.notify_all();
}

void Membership::left(uint32_t rank, const std::string& cause) {
  bool fatal = false, serving = false;
  {
    const std::lock_guard lock(mutex_);
    places_[rank].link = nullptr;
    fatal = epoch_begun_;
    serving = serving_;
  }
  changed_.notify_all();
  if (!fatal) return;
  stop_.fail(makeError(ErrorCode::kPeerLost, ErrorScope::kJob, "lost ", describe(rank), " while ", serving ? "serving" : "loading",
                       ": ", cause));
}

void Membership::loading(uint64_t done_bytes, uint64_t total_bytes) {
  const std::lock_guard lock(mutex_);
  places_[0].loading = {done_bytes, total_bytes};
}

NodeState Membership::stateOf(uint32_t rank) const {
  const bool here = rank == 0 || places_[rank].link != nullptr;
  if (!epoch_begun_) return NodeState::kJoining;
  if (!here) return NodeState::kLost;
  if (stop_.requested()) return NodeState::kStopping;
  return serving_ ? NodeState::kServing : NodeState::kLoading;
}

std::vector<MemberStatus> Membership::statuses() const {
  const std::lock_guard lock(mutex_);
  std::vector<MemberStatus> statuses;
  for (uint32_t rank = 0; rank < places_.size(); ++rank) {
    MemberStatus& status = statuses.emplace_back(MemberStatus{.state = stateOf(rank), .report = places_[rank].report});
    if (status.state == NodeState::kLoading) status.loading = places_[rank].loading;
  }
  return statuses;
}

std::vector<std::string> Membership::present() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names = {roster_.nodes[0].name};
  for (size_t rank = 1; rank < places_.size(); ++rank) {
    if (places_[rank].link != nullptr) names.push_back(roster_.nodes[rank].name);
  }
  return names;
}

std::string Membership::missing() const {
  std::string names;
  for (size_t rank = 1; rank < places_.size(); ++rank) {
    if (places_[rank].link != nullptr) continue;
    names += (names.empty() ? "" : ", ") + roster_.nodes[rank].name;
  }
  return names;
}

Result<Session> Membership::gather(const std::string& own_endpoint, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  Session session{.epoch = 1, .members = {{roster_.nodes[0].name, 0, own_endpoint}}};
  if (RAND_bytes(session.key.data(), static_cast<int>(session.key.size())) != 1) {
    return makeError(ErrorCode::kIo, "no randomness for a session key");
  }
  {
    std::unique_lock lock(mutex_);
    while (!stop_.requested() && !missing().empty()) {
      if (changed_.wait_until(lock, deadline) != std::cv_status::timeout || missing().empty()) continue;
      std::string hint;
      if (const uint64_t strangers = strangersRefused(); strangers > 0) {
        hint = "; " + std::to_string(strangers) + " connections were refused because the other node has another cluster secret or none";
      }
      return makeError(ErrorCode::kTimeout, ErrorScope::kJob, "after ", timeout.count() / 1000.0, " s not all nodes have joined, missing: ",
                       missing(), hint);
    }
    if (stop_.requested()) return cancelled(stop_);
    epoch_begun_ = true;
    for (uint32_t rank = 1; rank < places_.size(); ++rank) {
      session.members.push_back({roster_.nodes[rank].name, rank, places_[rank].endpoint});
    }
  }
  wire::ToMember message;
  wire::Welcome* welcome = message.mutable_welcome();
  welcome->set_epoch(session.epoch);
  welcome->set_session_key(session.key.data(), session.key.size());
  for (const SessionMember& each : session.members) {
    wire::Member* member = welcome->add_members();
    member->set_node(each.node);
    member->set_rank(each.rank);
    member->set_data_endpoint(each.data_endpoint);
  }
  broadcast(message);
  return session;
}

Status Membership::awaitReady(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  const auto waitingFor = [&] {
    std::string names;
    for (size_t rank = 1; rank < places_.size(); ++rank) {
      if (!places_[rank].ready) names += (names.empty() ? "" : ", ") + roster_.nodes[rank].name;
    }
    return names;
  };
  while (!stop_.requested() && !waitingFor().empty()) {
    const uint64_t before = progress_;
    const bool moved = changed_.wait_for(lock, patience, [&] { return progress_ != before || stop_.requested(); });
    if (!moved) {
      return makeError(ErrorCode::kTimeout, ErrorScope::kJob, "no progress in loading for ", patience.count() / 1000, " s, waiting for: ",
                       waitingFor());
    }
  }
  if (stop_.requested()) return cancelled(stop_);
  return {};
}

void Membership::go() {
  {
    const std::lock_guard lock(mutex_);
    serving_ = true;
  }
  wire::ToMember message;
  message.mutable_go();
  broadcast(message);
}

std::vector<std::shared_ptr<MemberLink>> Membership::links() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<MemberLink>> links;
  for (const Place& place : places_) {
    if (place.link != nullptr) links.push_back(place.link);
  }
  return links;
}

void Membership::broadcast(const wire::ToMember& message) const {
  // Not under the lock: sending may take a moment, and members report losses through this object.
  for (const std::shared_ptr<MemberLink>& link : links()) link->send(message);
}

void Membership::announceEnd() {
  { const std::lock_guard lock(mutex_); }  // a waiter that has just looked at stop_ is asleep by now, and hears this:
  changed_.notify_all();
  wire::ToMember message;
  if (const std::optional<Error> error = stop_.error()) {
    *message.mutable_abort() = toWire(*error);
  } else {
    message.mutable_stop()->set_reason(stop_.reason());
  }
  broadcast(message);
}

void Membership::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] {
    for (const Place& place : places_) {
      if (place.link != nullptr) return false;
    }
    return true;
  });
}

}  // namespace exo::cluster
