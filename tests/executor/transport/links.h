// What the tests of links and collectives share: a world of ranks as threads of this process, over any transport.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "executor/transport/mesh.h"
#include "executor/transport/simulated.h"
#include "executor/transport/verbs/device.h"

namespace exo::transport {

inline SessionKey testKey(uint8_t seed = 1) {
  SessionKey key;
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(seed * 37 + i);
  return key;
}

/// Options of rank `rank` in a world where all are linked.
inline MeshOptions optionsFor(int rank, const std::vector<Endpoint>& endpoints, Choice choice) {
  MeshOptions options;
  options.rank = rank;
  options.world = static_cast<int>(endpoints.size());
  options.epoch = 5;
  options.session_key = testKey();
  for (int peer = 0; peer < options.world; ++peer)
    if (peer != rank) options.peers.push_back({peer, "node" + std::to_string(peer), endpoints[peer], choice});
  return options;
}

/// Opened listeners of a world, and their endpoints.
struct Listeners {
  std::vector<Listener> listeners;
  std::vector<Endpoint> endpoints;

  explicit Listeners(int world) {
    for (int rank = 0; rank < world; ++rank) {
      auto listener = Listener::open();
      EXPECT_TRUE(listener.ok()) << listener.error().message();
      endpoints.push_back(listener->endpoint());
      listeners.push_back(std::move(*listener));
    }
  }
};

/// Runs `body(rank)` on one thread per rank.
inline void onThreads(int world, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) threads.emplace_back(body, rank);
  for (std::thread& thread : threads) thread.join();
}

enum class Wire { kShm, kTcp, kVerbs, kSimulated };
inline std::string wireName(Wire wire) {
  switch (wire) {
    case Wire::kShm: return "shm";
    case Wire::kTcp: return "tcp";
    case Wire::kVerbs: return "verbs";
    case Wire::kSimulated: return "simulated";
  }
  return "?";
}
inline Choice choiceOf(Wire wire) {
  return wire == Wire::kShm ? Choice::kShm : wire == Wire::kVerbs ? Choice::kVerbs : Choice::kTcp;
}
/// Empty, or why tests over this wire cannot run here: few hosts have a verbs device (tests/vm runs them where one is).
inline std::string missing(Wire wire) {
  if (wire != Wire::kVerbs) return "";
  const auto ports = verbs::openPorts({});
  return ports.ok() ? "" : ports.error().message();
}
#define EXO_SKIP_WITHOUT(wire) \
  if (const std::string why = missing(wire); !why.empty()) GTEST_SKIP() << why

/// One mesh per rank; all connected.
struct World {
  std::unique_ptr<SimulatedNetwork> network;
  std::vector<std::unique_ptr<Mesh>> meshes;

  World(int size, Wire wire, RingShape ring = {}, const std::atomic<bool>* cancel = nullptr) : meshes(size) {
    if (wire == Wire::kSimulated) {
      network = std::make_unique<SimulatedNetwork>(size, ring);
      for (int rank = 0; rank < size; ++rank) meshes[rank] = network->mesh(rank, cancel);
      return;
    }
    Listeners open(size);
    onThreads(size, [&](int rank) {
      MeshOptions options = optionsFor(rank, open.endpoints, choiceOf(wire));
      options.ring = ring;
      options.cancel = cancel;
      auto mesh = Mesh::connect(std::move(open.listeners[rank]), options);
      ASSERT_TRUE(mesh.ok()) << mesh.error().message();
      meshes[rank] = std::move(*mesh);
    });
  }
  int size() const { return static_cast<int>(meshes.size()); }
};

}  // namespace exo::transport
