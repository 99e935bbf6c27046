#include "frontend/hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "frontend/checkpoint/replacing_file.h"

namespace exo::hub {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kOtherIsDead{60};

Status makeFolder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return makeError(ErrorCode::kIo, "cannot create ", folder.string(), ": ", error.message());
  return {};
}

/// Zero where there is no such file.
uint64_t sizeOf(const fs::path& file) {
  std::error_code error;
  const uint64_t size = fs::file_size(file, error);
  return error ? 0 : size;
}

}  // namespace

Cache::Cache(fs::path folder, const Repository& repository) {
  const std::string name = "models--" + repository.owner + "--" + repository.name;
  locks_ = folder / ".locks" / name;
  folder_ = std::move(folder) / name;
}

std::optional<fs::path> Cache::snapshot(const std::string& revision) const {
  std::string commit = revision;
  if (!isHex(revision, 40)) std::ifstream(folder_ / "refs" / revision) >> commit;
  const fs::path snapshot = folder_ / "snapshots" / commit;
  std::error_code error;
  if (!isHex(commit, 40) || !fs::is_directory(snapshot, error)) return std::nullopt;
  return snapshot;
}

Status Cache::prepare(const std::string& commit) const {
  for (const fs::path& folder : {folder_ / "blobs", folder_ / "refs", folder_ / "snapshots" / commit, locks_}) EXO_TRY(makeFolder(folder));
  return {};
}

bool Cache::has(const std::string& commit, const RemoteFile& file) const {
  std::error_code error;
  const fs::path link = folder_ / "snapshots" / commit / file.path;
  return fs::is_regular_file(link, error) && sizeOf(link) == file.size_bytes;
}

Status Cache::link(const std::string& commit, const RemoteFile& file) const {
  const fs::path link = folder_ / "snapshots" / commit / file.path;
  EXO_TRY(makeFolder(link.parent_path()));
  const fs::path target = fs::path(blob(file)).lexically_relative(link.parent_path());
  const fs::path beside = link.string() + ".link-" + std::to_string(::getpid());
  std::error_code error;
  fs::remove(beside, error);
  fs::create_symlink(target, beside, error);
  if (!error) fs::rename(beside, link, error);
  if (error) return makeError(ErrorCode::kIo, "cannot link ", link.string(), ": ", error.message());
  return {};
}

Status Cache::setRevision(const std::string& revision, const std::string& commit) const {
  if (revision == commit) return {};
  return replaceFile(folder_ / "refs" / revision, commit);
}

Result<FileDescriptor> Cache::lock(const RemoteFile& file, const std::atomic<bool>* cancel) const {
  const fs::path path = locks_ / (file.digest + ".lock"), incomplete = blob(file).string() + ".incomplete";
  FileDescriptor lock(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644));
  if (!lock) return makeError(ErrorCode::kIo, "cannot open ", path.string(), ": ", std::strerror(errno));
  uint64_t size = sizeOf(incomplete);
  for (auto grown = Clock::now(); ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0;) {
    if (errno != EWOULDBLOCK && errno != EINTR) return makeError(ErrorCode::kIo, "cannot lock ", path.string(), ": ", std::strerror(errno));
    if (cancel && *cancel) return makeError(ErrorCode::kCancelled, "cancelled while another process downloads ", file.path);
    if (const uint64_t now = sizeOf(incomplete); now != size) {
      size = now;
      grown = Clock::now();
    }
    if (Clock::now() - grown > kOtherIsDead) return makeError(ErrorCode::kTimeout, file.path, ": another process holds ", path.string(), " and has not got a byte for a minute");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return lock;
}

}  // namespace exo::hub
