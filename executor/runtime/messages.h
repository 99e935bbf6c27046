// Control messages of any size over one link, between the collectives of the steps: whole, in order, bounded in size by the
// receiver. Both ends must agree on when a link carries messages and when collectives; the step protocol (driver.h) does.
// A message travels in pieces of a slot: [u32 magic][u32 piece bytes][u64 bytes of the whole message][payload].
// Threads: one at a time per mesh, the one that runs the steps.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "executor/transport/mesh.h"
#include "ir/base/result.h"

namespace exo::runtime {

/// Errors: kTimeout, kPeerLost, kCancelled; the mesh is failed then. `what` names the message in errors.
Status sendMessage(transport::Mesh& mesh, int peer, std::span<const std::byte> message, std::chrono::milliseconds timeout,
                   std::string_view what);

/// Waits for a message into `message` (resized). Without `first_timeout` it may take for ever to begin, as long as the
/// peer lives: idling is not an error. Once begun it must be whole within `timeout`. kMismatch for bytes that are no
/// message or promise more than `max_bytes`.
Status receiveMessage(transport::Mesh& mesh, int peer, std::vector<std::byte>& message, uint64_t max_bytes,
                      std::optional<std::chrono::milliseconds> first_timeout, std::chrono::milliseconds timeout,
                      std::string_view what);

}  // namespace exo::runtime
