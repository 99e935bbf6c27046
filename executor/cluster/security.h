// Who may talk to whom. Without a cluster secret: only this machine, in clear. With one: any address, mutual TLS with keys
// derived from the secret (tls_identity.h); who does not know it gets no further than the handshake.
// Threads: immutable.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "executor/cluster/address.h"
#include "executor/cluster/tls_identity.h"
#include "ir/base/result.h"

namespace exo::cluster {

inline constexpr size_t kMinSecretBytes = 16;
inline constexpr size_t kMaxSecretBytes = 4096;

class Security {
 public:
  static Security loopbackOnly() { return Security(std::nullopt); }
  /// kInvalidInput when the secret is too short or too long.
  static Result<Security> fromSecret(std::string_view secret);
  /// The file's bytes, trailing line ends removed. kInvalidInput if others than its owner can read or write it.
  static Result<Security> fromSecretFile(const std::filesystem::path& path);

  bool hasSecret() const { return identity_.has_value(); }

  /// `resolved`: an IP literal. `verb`: "listen on", "connect to". kInvalidInput, naming --secret_file, for an address
  /// beyond this machine when there is no secret.
  Status allow(const Address& resolved, const char* verb) const;

  std::shared_ptr<grpc::ServerCredentials> serverCredentials() const;
  std::shared_ptr<grpc::ChannelCredentials> channelCredentials() const;

 private:
  explicit Security(std::optional<TlsIdentity> identity) : identity_(std::move(identity)) {}
  std::optional<TlsIdentity> identity_;
};

}  // namespace exo::cluster
