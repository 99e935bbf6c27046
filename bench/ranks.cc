#include "bench/ranks.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "ir/base/machine.h"

namespace exo::bench {
namespace {

/// The calling thread onto the `index`-th core it may run on, counted round.
void pinTo(int index) {
  const std::vector<int> processors = allowedProcessors();
  if (processors.size() > 1) pinThisThread(processors[static_cast<size_t>(index) % processors.size()]);
}

}  // namespace

Status onThreads(int world, const std::function<Status(int rank)>& body) {
  std::vector<std::optional<Error>> errors(static_cast<size_t>(world));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      pinTo(rank);
      Status status = body(rank);
      if (!status.ok()) errors[static_cast<size_t>(rank)] = std::move(status).error();
    });
  }
  threads.clear();  // joins
  // Those that were only told to stop are not the cause.
  for (const std::optional<Error>& error : errors)
    if (error && error->code() != ErrorCode::kCancelled) return *error;
  for (const std::optional<Error>& error : errors)
    if (error) return *error;
  return {};
}

Status onRanks(int world, transport::Choice choice, const std::function<Status(int rank, transport::Mesh& mesh)>& body) {
  std::vector<transport::Listener> listeners;
  std::vector<transport::Endpoint> endpoints;
  for (int rank = 0; rank < world; ++rank) {
    EXO_ASSIGN(transport::Listener listener, transport::Listener::open());
    endpoints.push_back(listener.endpoint());
    listeners.push_back(std::move(listener));
  }
  std::atomic<bool> cancel{false};
  const auto connected = [&](int rank) -> Status {
    transport::MeshOptions options;
    options.rank = rank;
    options.world = world;
    for (int peer = 0; peer < world; ++peer)
      if (peer != rank) options.peers.push_back({peer, "rank " + std::to_string(peer), endpoints[static_cast<size_t>(peer)], choice});
    options.cancel = &cancel;
    EXO_ASSIGN(const auto mesh, transport::Mesh::connect(std::move(listeners[static_cast<size_t>(rank)]), options));
    return body(rank, *mesh);
  };
  return onThreads(world, [&](int rank) -> Status {
    Status status = connected(rank);
    if (!status.ok()) cancel = true;
    return status;
  });
}

}  // namespace exo::bench
