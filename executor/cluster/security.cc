#include "executor/cluster/security.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace exo::cluster {
namespace {

struct OpenFile {
  int fd = -1;
  ~OpenFile() {
    if (fd >= 0) ::close(fd);
  }
};

Status checkSecretFile(int fd, const std::filesystem::path& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return makeError(ErrorCode::kIo, "cannot look at ", path.string(), ": ", std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return invalid("secret file ", path.string(), " is not a file");
  if ((info.st_mode & 077) != 0) {
    return invalid("secret file ", path.string(), " can be read or written by others than its owner; run: chmod 600 ", path.string());
  }
  return {};
}

/// At most kMaxSecretBytes and what shows that there are more.
Result<std::string> readAtMost(int fd, const std::filesystem::path& path) {
  std::string bytes(kMaxSecretBytes + 3, '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(fd, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return makeError(ErrorCode::kIo, "cannot read ", path.string(), ": ", std::strerror(errno));
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace

Result<Security> Security::fromSecret(std::string_view secret) {
  if (secret.size() < kMinSecretBytes || secret.size() > kMaxSecretBytes) {
    return invalid("a cluster secret has ", kMinSecretBytes, " to ", kMaxSecretBytes, " bytes, got ",
                   secret.size() > kMaxSecretBytes ? "more" : std::to_string(secret.size()),
                   "; a good one: head -c 32 /dev/urandom | base64");
  }
  EXO_ASSIGN(TlsIdentity identity, makeTlsIdentity(secret));
  return Security(std::move(identity));
}

Result<Security> Security::fromSecretFile(const std::filesystem::path& path) {
  // Non-blocking: a pipe instead of a file must not hold up the start.
  const OpenFile file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return invalid("cannot open secret file ", path.string(), ": ", std::strerror(errno));
  EXO_TRY(checkSecretFile(file.fd, path));
  EXO_ASSIGN(std::string secret, readAtMost(file.fd, path));
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  Result<Security> security = fromSecret(secret);
  if (!security.ok()) return std::move(security).error().note("in secret file " + path.string());
  return security;
}

Status Security::allow(const Address& resolved, const char* verb) const {
  if (hasSecret() || isLoopback(resolved.host)) return {};
  return invalid("refusing to ", verb, " ", resolved.text(), ": beyond this machine (127.0.0.1, ::1) nodes need a cluster secret; ",
                 "give every node the same --secret_file");
}

std::shared_ptr<grpc::ServerCredentials> Security::serverCredentials() const {
  if (!hasSecret()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = identity_->ca_certificate;
  options.pem_key_cert_pairs.push_back({identity_->private_key, identity_->certificate});
  return grpc::SslServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> Security::channelCredentials() const {
  if (!hasSecret()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = identity_->ca_certificate;
  options.pem_private_key = identity_->private_key;
  options.pem_cert_chain = identity_->certificate;
  return grpc::SslCredentials(options);
}

}  // namespace exo::cluster
