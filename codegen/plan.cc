#include "codegen/plan.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "ir/base/version.h"

namespace exo {

namespace {

constexpr std::uintmax_t kMaxPlanBytes = std::uintmax_t{1} << 30;

Result<std::string> serialize(plan::Plan plan) {
  plan.clear_content_hash();
  std::string bytes;
  if (!plan.SerializeToString(&bytes)) return makeError(ErrorCode::kIo, "the plan cannot be serialised");
  return bytes;
}

std::string sha256(const std::string& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return std::string(reinterpret_cast<const char*>(digest), sizeof digest);
}

Status writeAll(const std::filesystem::path& path, const std::string& bytes) {
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  if (fd < 0) return makeError(ErrorCode::kIo, "cannot write ", path.string(), ": ", std::strerror(errno));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  const bool ok = done == bytes.size() && ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  if (!ok) return makeError(ErrorCode::kIo, "cannot write ", path.string(), ": ", std::strerror(error));
  return {};
}

}  // namespace

Result<plan::Plan> loadPlan(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "plan.pb";
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return makeError(ErrorCode::kNotFound, "no plan in ", directory.string(), ": expected the file plan.pb, as `exoc compile` writes it");
  if (size > kMaxPlanBytes) return makeError(ErrorCode::kMismatch, path.string(), ": expected at most 1 GiB, got ", size, " bytes");
  std::ifstream file(path, std::ios::binary);
  std::string bytes(size, '\0');
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size))) return makeError(ErrorCode::kIo, "cannot read ", path.string());
  plan::Plan plan;
  const Error damaged = makeError(ErrorCode::kMismatch, path.string(), ": the plan is damaged (its content does not match its hash); compile it again");
  if (!plan.ParseFromString(bytes)) return damaged;
  const std::string hash = plan.content_hash();
  EXO_ASSIGN(const std::string content, serialize(plan));
  if (sha256(content) != hash) return damaged;
  if (plan.version() != kVersion) return makeError(ErrorCode::kMismatch, path.string(), ": expected a plan of version ", kVersion, ", got ", plan.version(), "; compile it again");
  if (plan.programs_size() == 0 || plan.programs(0).vocab_size() == 0) return makeError(ErrorCode::kMismatch, path.string(), ": expected a program for every rank, got none");
  return plan;
}

Status savePlan(plan::Plan plan, const std::filesystem::path& directory) {
  plan.set_version(kVersion);
  EXO_ASSIGN(const std::string content, serialize(plan));
  plan.set_content_hash(sha256(content));
  std::string bytes;
  if (!plan.SerializeToString(&bytes)) return makeError(ErrorCode::kIo, "the plan cannot be serialised");
  const std::filesystem::path path = directory / "plan.pb", beside = directory / ("plan.pb.tmp." + std::to_string(::getpid()));
  Status written = writeAll(beside, bytes);
  std::error_code error;
  if (written.ok()) std::filesystem::rename(beside, path, error);
  if (written.ok() && !error) return {};
  std::filesystem::remove(beside, error);
  return written.ok() ? makeError(ErrorCode::kIo, "cannot rename ", beside.string(), " to ", path.string()) : written;
}

std::string programHash(const program::Program& program) { return sha256(program.SerializeAsString()); }

}  // namespace exo
