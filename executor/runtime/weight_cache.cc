#include "executor/runtime/weight_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "codegen/layout.h"
#include "executor/runtime/program_check.h"
#include "executor/runtime/weights.h"
#include "ir/base/owned_file.h"

namespace exo::runtime {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kFileSuffix = ".exoweights";
constexpr const char* kPackingSuffix = ".packing";
constexpr std::chrono::milliseconds kPoll{10};

/// Device and inode: which file it is, whatever its name.
using FileId = std::optional<std::pair<dev_t, ino_t>>;
FileId idOf(const fs::path& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 ? FileId({status.st_dev, status.st_ino}) : std::nullopt;
}
FileId idOf(const FileDescriptor& file) {
  struct stat status;
  return ::fstat(file.get(), &status) == 0 ? FileId({status.st_dev, status.st_ino}) : std::nullopt;
}

enum class Lock { kTaken, kBusy, kFailed };
Lock tryLock(const FileDescriptor& file) {
  if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return Lock::kTaken;
  return errno == EWOULDBLOCK || errno == EINTR ? Lock::kBusy : Lock::kFailed;
}

/// Left behind by a process that died: nobody holds its lock. Who has just created it and not locked it yet finds it gone
/// and creates another.
void removeIfAbandoned(const fs::path& packing) {
  const Result<FileDescriptor> file = openOwnedFile(packing, O_RDWR);
  if (file.ok() && tryLock(*file) == Lock::kTaken) ::unlink(packing.c_str());
}

class Cache {
 public:
  Cache(const program::Program& program, std::string identity, const WeightCacheOptions& options, ThreadPool& pool, const Packer& pack,
        const LoadProgress& progress)
      : options_(options),
        pool_(pool),
        pack_(pack),
        progress_(progress),
        identity_(std::move(identity)),
        total_(totalWeightBytes(program)),
        file_(weightKey(program, identity_), total_),
        path_(fs::path(options.directory) / file_.name()),
        packing_(path_.string() + kPackingSuffix) {}

  Result<std::optional<Memory>> load() {
    const FileId before = idOf(path_);
    EXO_ASSIGN(std::optional<Memory> found, mapped());
    if (found) return found;
    Result<FileDescriptor> turn = takeTurn();
    if (!turn.ok()) return withoutCache(std::move(turn).error());
    if (idOf(path_) != before) {  // meanwhile another process has packed it
      EXO_ASSIGN(found, mapped());
      if (found) ::unlink(packing_.c_str());
      if (found) return found;
    }
    return packInto(*turn);
  }

 private:
  void warn(const std::string& line) const {
    if (options_.warn) options_.warn(line);
  }

  Result<std::optional<Memory>> withoutCache(Error error) const {
    if (error.code() == ErrorCode::kCancelled) return error;
    warn("packed weights are not kept for the next start: " + error.message());
    return std::optional<Memory>();
  }

  Result<std::optional<Memory>> mapped() const {
    Result<Memory> memory = file_.map(path_, pool_, progress_, options_.cancel);
    if (memory.ok()) return std::optional(std::move(*memory));
    if (memory.error().code() == ErrorCode::kCancelled) return memory.error();
    if (memory.error().code() != ErrorCode::kNotFound) warn(path_.string() + " is made again: " + memory.error().message());
    return std::optional<Memory>();
  }

  /// The file to pack into, with its lock: this process is the one that packs.
  Result<FileDescriptor> takeTurn() const {
    EXO_TRY(makeOwnedDirectory(options_.directory));
    for (;;) {
      EXO_ASSIGN(FileDescriptor file, openOwnedFile(packing_, O_RDWR | O_CREAT));
      EXO_TRY(awaitLock(file));
      if (idOf(file) == idOf(packing_)) return file;  // else its owner has renamed or removed it
    }
  }

  Status awaitLock(const FileDescriptor& file) const {
    uint64_t seen = 0;
    auto moved = Clock::now();
    for (Lock lock; (lock = tryLock(file)) != Lock::kTaken; std::this_thread::sleep_for(kPoll)) {
      if (lock == Lock::kFailed) return makeError(ErrorCode::kIo, packing_.string(), ": cannot lock: ", std::strerror(errno));
      if (options_.cancel != nullptr && *options_.cancel) return makeError(ErrorCode::kCancelled, "loading was cancelled");
      const uint64_t done = file_.done(file);
      if (done != std::exchange(seen, done)) {
        moved = Clock::now();
        if (progress_) progress_(std::min(done, total_), total_);
      }
      if (Clock::now() - moved > options_.patience)
        return makeError(ErrorCode::kTimeout, "another process packs them into ", packing_.string(), " and has not got on for ",
                         options_.patience.count(), " ms");
    }
    return {};
  }

  Result<std::optional<Memory>> packInto(const FileDescriptor& file) const {
    ::unlink(path_.c_str());  // damaged, if there is one
    Status room = makeRoom();
    Result<Memory> memory = room.ok() ? file_.reserve(file) : Result<Memory>(std::move(room).error());
    if (!memory.ok()) {
      ::unlink(packing_.c_str());
      return withoutCache(std::move(memory).error().note("in " + options_.directory));
    }
    Status packed = pack_(*memory, [&](uint64_t done, uint64_t total) {
      file_.setDone(file, done);
      if (progress_) progress_(done, total);
    });
    if (!packed.ok()) {
      ::unlink(packing_.c_str());
      return std::move(packed).error();
    }
    if (Status kept = keep(file, *memory); !kept.ok()) {
      ::unlink(packing_.c_str());  // the mapping stays: these weights are as good as any
      warn("packed weights are not kept for the next start: " + kept.error().message());
    }
    memory->makeReadOnly();
    return std::optional(std::move(*memory));
  }

  Status keep(const FileDescriptor& file, const Memory& memory) const {
    EXO_TRY(file_.complete(file, memory, pool_, options_.cancel));
    if (options_.source_identity() != identity_) return makeError(ErrorCode::kMismatch, "the model's files changed while they were read");
    if (::rename(packing_.c_str(), path_.c_str()) == 0) return {};
    return makeError(ErrorCode::kIo, path_.string(), ": cannot rename the new file to it: ", std::strerror(errno));
  }

  struct Old {
    fs::file_time_type used;
    uint64_t bytes;
    fs::path path;
  };

  /// Removes what dead processes left, then complete files, those unused for longest first, as far as space is lacking.
  Status makeRoom() const {
    std::vector<Old> files = otherFiles();
    struct statvfs disk;
    if (::statvfs(options_.directory.c_str(), &disk) != 0) return makeError(ErrorCode::kIo, "cannot ask for free space: ", std::strerror(errno));
    const uint64_t block = disk.f_frsize, needed = file_.diskBytes() + static_cast<uint64_t>(options_.keep_free * static_cast<double>(disk.f_blocks * block));
    uint64_t available = disk.f_bavail * block, removable = 0;
    for (const Old& file : files) removable += file.bytes;
    if (available + removable < needed)
      return makeError(ErrorCode::kDoesNotFit, "they need ", file_.diskBytes() >> 20, " MiB, the disk has ", available >> 20, " MiB free and keeps ",
                       (needed - file_.diskBytes()) >> 20, " MiB of them");
    for (size_t i = 0; available < needed; ++i) {
      ::unlink(files[i].path.c_str());
      available += files[i].bytes;
    }
    return {};
  }

  /// Least recently used first.
  std::vector<Old> otherFiles() const {
    std::vector<Old> files;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(options_.directory, error)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(kPackingSuffix) && entry.path() != packing_) removeIfAbandoned(entry.path());
      struct stat status;
      if (name.ends_with(kFileSuffix) && ::lstat(entry.path().c_str(), &status) == 0)
        files.push_back({entry.last_write_time(error), static_cast<uint64_t>(status.st_blocks) * 512, entry.path()});
    }
    std::sort(files.begin(), files.end(), [](const Old& a, const Old& b) { return a.used < b.used; });
    return files;
  }

  const WeightCacheOptions& options_;
  ThreadPool& pool_;
  const Packer& pack_;
  const LoadProgress& progress_;
  const std::string identity_;
  const uint64_t total_;
  const WeightFile file_;
  const fs::path path_, packing_;
};

}  // namespace

std::string weightKey(const program::Program& program, const std::string& source_identity) {
  std::ostringstream key;
  key << "packed weights, layout " << codegen::kLayoutVersion << "\nsource " << source_identity << "\n";
  for (const program::Weight& weight : program.weights()) {
    key << program::Encoding_Name(weight.encoding()) << " " << program::Weight::Layout_Name(weight.layout()) << " " << weight.rows() << " x " << weight.columns() << "\n";
    for (const program::TensorSlice& slice : weight.slices())
      key << "  " << slice.tensor() << " " << slice.rows() << " x " << slice.columns() << " [" << slice.row_begin() << ", " << slice.row_end() << ") ["
          << slice.column_begin() << ", " << slice.column_end() << ")\n";
  }
  return key.str();
}

Result<std::optional<Memory>> cachedWeights(const program::Program& program, const WeightCacheOptions& options, ThreadPool& pool, const Packer& pack,
                                            const LoadProgress& progress) {
  const bool wanted = !options.directory.empty() && options.source_identity && totalWeightBytes(program) >= std::max<uint64_t>(options.min_bytes, 1);
  std::string identity = wanted ? options.source_identity() : "";
  if (identity.empty()) return std::optional<Memory>();
  return Cache(program, std::move(identity), options, pool, pack, progress).load();
}

}  // namespace exo::runtime
