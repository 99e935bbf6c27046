#include "bench/two_ranks.h"

#include <sched.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

namespace exo::bench {
namespace {

/// The calling thread onto the `index`-th core it may run on.
void pinTo(int index) {
  cpu_set_t allowed, one;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  CPU_ZERO(&one);
  for (int core = 0, seen = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed) && seen++ == index) CPU_SET(core, &one);
  }
  ::sched_setaffinity(0, sizeof one, &one);
}

}  // namespace

Status onTwoThreads(const std::function<Status(int rank)>& body) {
  std::optional<Error> errors[2];
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      pinTo(rank);
      Status status = body(rank);
      if (!status.ok()) errors[rank] = std::move(status).error();
    });
  }
  threads.clear();  // joins
  // The one that was only told to stop is not the cause.
  const bool first_is_cause = errors[0] && (errors[0]->code() != ErrorCode::kCancelled || !errors[1]);
  if (first_is_cause) return std::move(*errors[0]);
  if (errors[1]) return std::move(*errors[1]);
  return {};
}

Status onTwoRanks(transport::Choice choice, const std::function<Status(int rank, transport::Mesh& mesh)>& body) {
  std::vector<transport::Listener> listeners;
  for (int rank = 0; rank < 2; ++rank) {
    EXO_ASSIGN(transport::Listener listener, transport::Listener::open());
    listeners.push_back(std::move(listener));
  }
  const transport::Endpoint endpoints[] = {listeners[0].endpoint(), listeners[1].endpoint()};
  std::atomic<bool> cancel{false};
  const auto connected = [&](int rank) -> Status {
    transport::MeshOptions options;
    options.rank = rank;
    options.world = 2;
    options.peers.push_back({1 - rank, "rank " + std::to_string(1 - rank), endpoints[1 - rank], choice});
    options.cancel = &cancel;
    EXO_ASSIGN(const auto mesh, transport::Mesh::connect(std::move(listeners[static_cast<size_t>(rank)]), options));
    return body(rank, *mesh);
  };
  return onTwoThreads([&](int rank) -> Status {
    Status status = connected(rank);
    if (!status.ok()) cancel = true;
    return status;
  });
}

}  // namespace exo::bench
