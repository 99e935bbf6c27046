// "host:port" texts as plans and flags carry them, and the IP literals behind them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ir/base/result.h"

namespace exo::cluster {

struct Address {
  std::string host;    // name or literal, without brackets
  uint16_t port = 0;

  std::string text() const;  // "host:port", "[v6]:port"
};

/// "desk:52416", "127.0.0.1:0", "[::1]:52416". kInvalidInput with an example otherwise.
Result<Address> parseAddress(std::string_view text);

/// The same with the host replaced by an IP literal, looked up if it is a name. Error kNotFound naming the host.
Result<Address> resolve(const Address& address);

/// Of IP literals: 127.0.0.0/8, ::1.
bool isLoopback(const std::string& literal);
/// Of IP literals: 0.0.0.0, ::. One listens on it, nobody can be reached there.
bool isUnspecified(const std::string& literal);

/// What gRPC dials and binds: "ipv4:1.2.3.4:5", so that it neither looks up nor asks a proxy. `address` is resolved.
std::string grpcTarget(const Address& address);

}  // namespace exo::cluster
