#include "executor/cluster/group_probe.h"

#include <algorithm>
#include <numeric>

#include "executor/transport/mesh.h"

namespace exo::cluster {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kKept{30};
constexpr size_t kMaxOpened = 8;
constexpr uint32_t kMaxWorld = 64;
constexpr std::chrono::milliseconds kConnectTimeout{10'000}, kBudget{1'000}, kTimeout{5'000};

}  // namespace

Result<std::string> GroupProbes::open(const std::string& host, const GroupTicket& ticket) {
  if (ticket.world < 2 || ticket.world > kMaxWorld || ticket.rank >= ticket.world)
    return invalid("a group of 2 to ", kMaxWorld, " nodes can be measured, got rank ", ticket.rank, " of ", ticket.world);
  EXO_ASSIGN([[maybe_unused]] const transport::Choice choice, transport::parseChoice(ticket.link.transport));
  EXO_ASSIGN(transport::Listener listener, transport::Listener::open(host));
  const std::string endpoint = listener.endpoint().text();
  const std::lock_guard lock(mutex_);
  std::erase_if(opened_, [](const Opened& old) { return Clock::now() - old.at > kKept; });
  if (opened_.size() >= kMaxOpened) return makeError(ErrorCode::kDoesNotFit, kMaxOpened, " group measurements are waiting already");
  opened_.push_back({ticket, std::move(listener), Clock::now()});
  return endpoint;
}

Result<collectives::Calibration> GroupProbes::measure(const Session& session, const std::atomic<bool>& cancel) {
  std::list<Opened> mine;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(opened_.begin(), opened_.end(), [&](const Opened& each) { return each.ticket.link.epoch == session.epoch; });
    if (found == opened_.end()) return makeError(ErrorCode::kNotFound, "no group measurement was opened here with that epoch");
    mine.splice(mine.end(), opened_, found);
  }
  const GroupTicket& ticket = mine.front().ticket;
  if (session.members.size() != ticket.world)
    return invalid("the group was opened for ", ticket.world, " nodes, and met with ", session.members.size());
  EXO_ASSIGN(const transport::Choice choice, transport::parseChoice(ticket.link.transport));
  transport::MeshOptions options;
  options.rank = static_cast<int>(ticket.rank);
  options.world = static_cast<int>(ticket.world);
  options.epoch = ticket.link.epoch;
  options.session_key = ticket.link.key;
  options.connect_timeout = kConnectTimeout;
  options.cancel = &cancel;
  for (const SessionMember& member : session.members) {
    if (member.rank == ticket.rank) continue;
    EXO_ASSIGN(transport::Endpoint endpoint, transport::Endpoint::parse(member.data_endpoint));
    options.peers.push_back({static_cast<int>(member.rank), member.node, std::move(endpoint), choice});
  }
  EXO_ASSIGN(const auto mesh, transport::Mesh::connect(std::move(mine.front().listener), options));
  std::vector<int> group(ticket.world);
  std::iota(group.begin(), group.end(), 0);
  return collectives::calibrate(*mesh, group, {.budget = kBudget, .timeout = kTimeout});
}

}  // namespace exo::cluster
