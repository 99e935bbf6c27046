// gRPC tells why a handshake failed to its log only. This reads that log, turns what it knows into words a user can act on,
// and keeps the rest out of the terminal. The log function is gRPC's, one per process.
// Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace exo::cluster {

/// From now on. Calling it again does nothing.
void captureGrpcLog();

/// Connections to this process that failed because the other side has another secret, or none, since the start.
uint64_t strangersRefused();

/// "the other node has another cluster secret" and the like, for a gRPC or TLS message; empty when there is nothing to add.
std::string explainTls(std::string_view message);

}  // namespace exo::cluster
