#include "executor/runtime/weight_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <vector>

#include "ir/base/checksum.h"
#include "ir/base/owned_file.h"

namespace exo::runtime {

struct WeightFile::Fixed {
  char magic[8];             // zeros until the file is complete
  uint64_t done, key_bytes, payload_bytes, chunk_bytes;
  uint64_t checksum;         // of the head, with zero in this place
};

namespace {

constexpr char kMagic[8] = {'E', 'X', 'O', 'W', 'G', 'T', '1', '\n'};
constexpr uint64_t kChunkBytes = 8 << 20;    // under one checksum, and read ahead by one thread
constexpr uint64_t kPageBytes = 4096, kHugePageBytes = 2 << 20;

uint64_t chunksOf(uint64_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes; }
uint64_t roundUp(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

uint64_t checksumOf(const std::string& bytes) { return checksum(std::as_bytes(std::span(bytes))); }

Error systemError(const char* what) { return makeError(ErrorCode::kIo, "cannot ", what, ": ", std::strerror(errno)); }

/// False when the disk cannot give it: touching it would end the process. Kernels that do not know the question (before
/// 5.14) read page by page as it is touched.
bool readIn(std::span<const std::byte> bytes) {
#ifdef MADV_POPULATE_READ
  return ::madvise(const_cast<std::byte*>(bytes.data()), bytes.size(), MADV_POPULATE_READ) == 0 || errno == EINVAL;
#else
  return !bytes.empty();
#endif
}

/// Checksums of all chunks, made on all threads. `progress` may be empty.
Result<std::vector<uint64_t>> checksums(const Memory& memory, ThreadPool& pool, const LoadProgress& progress, const std::atomic<bool>* cancel) {
  std::vector<uint64_t> sums(chunksOf(memory.size()));
  std::atomic<uint64_t> next = 0, done = 0;
  std::atomic<bool> failed = false;
  const auto stop = [&] { return failed.load() || (cancel != nullptr && *cancel); };
  pool.run([&](int thread) {
    for (uint64_t chunk; !stop() && (chunk = next++) < sums.size();) {
      const uint64_t begin = chunk * kChunkBytes;
      const std::span<const std::byte> bytes = memory.bytes().subspan(begin, std::min(kChunkBytes, memory.size() - begin));
      if (!readIn(bytes)) failed = true;
      if (!failed) sums[chunk] = checksum(bytes);
      done += bytes.size();
      if (thread == 0 && progress) progress(done, memory.size());
    }
  });
  if (failed) return makeError(ErrorCode::kIo, "the disk does not give its content");
  if (cancel != nullptr && *cancel) return makeError(ErrorCode::kCancelled, "loading was cancelled");
  if (progress) progress(memory.size(), memory.size());
  return sums;
}

std::string bytesOf(const std::vector<uint64_t>& sums) { return {reinterpret_cast<const char*>(sums.data()), sums.size() * sizeof(uint64_t)}; }

/// As much as there is, up to `size` bytes.
std::string readStart(const FileDescriptor& file, uint64_t size) {
  std::string bytes(size, '\0');
  size_t at = 0;
  for (ssize_t count; at < size && (count = ::pread(file.get(), bytes.data() + at, size - at, static_cast<off_t>(at))) > 0;) at += static_cast<size_t>(count);
  bytes.resize(at);
  return bytes;
}

Status writeStart(const FileDescriptor& file, const std::string& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t count = ::pwrite(file.get(), bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (count <= 0) return systemError("write");
    at += static_cast<size_t>(count);
  }
  return {};
}

}  // namespace

WeightFile::WeightFile(std::string key, uint64_t payload_bytes)
    : key_(std::move(key)),
      payload_bytes_(payload_bytes),
      used_head_bytes_(roundUp(sizeof(Fixed) + key_.size() + chunksOf(payload_bytes) * sizeof(uint64_t), kPageBytes)),
      head_bytes_(roundUp(used_head_bytes_, kHugePageBytes)) {}

std::string WeightFile::name() const {
  char name[40];
  std::snprintf(name, sizeof name, "%016llx.exoweights", static_cast<unsigned long long>(checksumOf(key_)));
  return name;
}

std::string WeightFile::head(const std::string& checksums) const {
  Fixed fixed = {.magic = {}, .done = payload_bytes_, .key_bytes = key_.size(), .payload_bytes = payload_bytes_, .chunk_bytes = kChunkBytes, .checksum = 0};
  std::memcpy(fixed.magic, kMagic, sizeof kMagic);
  std::string head(reinterpret_cast<const char*>(&fixed), sizeof fixed);
  head += key_ + checksums;
  head.resize(head_bytes_);
  fixed.checksum = checksumOf(head);
  std::memcpy(head.data(), &fixed, sizeof fixed);
  return head;
}

/// All but the checksums is known; with those of the file, the head must be the one that would be written now.
Status WeightFile::checkHead(const FileDescriptor& file, std::string& checksums) const {
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return systemError("stat");
  if (static_cast<uint64_t>(status.st_size) != head_bytes_ + payload_bytes_)
    return makeError(ErrorCode::kMismatch, "expected ", head_bytes_ + payload_bytes_, " bytes, got ", status.st_size);
  const std::string read = readStart(file, head_bytes_);
  if (read.size() == head_bytes_) checksums = read.substr(sizeof(Fixed) + key_.size(), chunksOf(payload_bytes_) * sizeof(uint64_t));
  if (read != head(checksums)) return makeError(ErrorCode::kMismatch, "its head is damaged, or of other weights");
  return {};
}

Result<Memory> WeightFile::map(const std::filesystem::path& path, ThreadPool& pool, const LoadProgress& progress, const std::atomic<bool>* cancel) const {
  EXO_ASSIGN(const FileDescriptor file, openOwnedFile(path, O_RDONLY));
  std::string expected;
  EXO_TRY(checkHead(file, expected));
  EXO_ASSIGN(Memory payload, Memory::mapFile(file.get(), head_bytes_, payload_bytes_, FileAccess::kRead));
  EXO_ASSIGN(const std::vector<uint64_t> sums, checksums(payload, pool, progress, cancel));
  if (bytesOf(sums) != expected) return makeError(ErrorCode::kMismatch, "its weights are damaged");
  (void)::futimens(file.get(), nullptr);  // used now: what was not for longest is removed first
  return payload;
}

Result<Memory> WeightFile::reserve(const FileDescriptor& file) const {
  if (::ftruncate(file.get(), 0) != 0) return systemError("empty it");
  // Not posix_fallocate, which writes zeros where the file system cannot reserve: then a full disk would end us later.
  if (::fallocate(file.get(), 0, static_cast<off_t>(head_bytes_), static_cast<off_t>(payload_bytes_)) != 0) return systemError("reserve disk space");
  return Memory::mapFile(file.get(), head_bytes_, payload_bytes_, FileAccess::kReadWrite);
}

void WeightFile::setDone(const FileDescriptor& file, uint64_t done) const { (void)!::pwrite(file.get(), &done, sizeof done, offsetof(Fixed, done)); }

uint64_t WeightFile::done(const FileDescriptor& file) const {
  uint64_t done = 0;
  return ::pread(file.get(), &done, sizeof done, offsetof(Fixed, done)) == sizeof done ? done : 0;
}

Status WeightFile::complete(const FileDescriptor& file, const Memory& payload, ThreadPool& pool, const std::atomic<bool>* cancel) const {
  const LoadProgress count = [&](uint64_t checked, uint64_t) { setDone(file, payload_bytes_ + checked); };
  EXO_ASSIGN(const std::vector<uint64_t> sums, checksums(payload, pool, count, cancel));
  return writeStart(file, head(bytesOf(sums)).substr(0, used_head_bytes_));
}

}  // namespace exo::runtime
