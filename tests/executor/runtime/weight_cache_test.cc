// The cache of packed weights: what is mapped is what would be packed, and nothing damaged, foreign or half written is mapped.
#include "executor/runtime/weight_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "executor/runtime/weights.h"
#include "ir/base/file_descriptor.h"
#include "tests/executor/runtime/tiny_model.h"

namespace exo::runtime {
namespace {

namespace fs = std::filesystem;

std::string readAll(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::unique_ptr<ThreadPool> poolOf(int threads) { return ThreadPool::create({threads, Pin::kNo}).value(); }

class WeightCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "exo-weights-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    options_.directory = root_ / "cache" / "weights";
    options_.source_identity = [this] { return identity_; };
    options_.warn = [this](const std::string& line) { warnings_ += line + "\n"; };
    options_.min_bytes = 1;
    options_.keep_free = 0;
    pool_ = poolOf(2);
  }
  void TearDown() override { fs::remove_all(root_); }

  Result<LoadedWeights> tryLoad() {
    return loadWeights(
        program_,
        [this](const program::TensorSlice& slice, int64_t row, std::span<float> out) {
          ++rows_read_;
          return testing::readWeight(slice, row, out);
        },
        *pool_, {}, options_);
  }

  /// The weights' bytes. `rows_read_` and `warnings_` are of this call.
  std::string load() {
    rows_read_ = 0;
    warnings_.clear();
    const auto loaded = tryLoad();
    EXPECT_TRUE(loaded.ok()) << loaded.error();
    return loaded.ok() ? std::string(reinterpret_cast<const char*>(loaded->memory.data()), loaded->memory.size()) : "";
  }

  std::string packedInMemory() {
    WeightCacheOptions none;
    std::swap(none, options_);
    const std::string bytes = load();
    std::swap(none, options_);
    return bytes;
  }

  std::vector<fs::path> files() const {
    std::vector<fs::path> result;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(options_.directory, none)) result.push_back(entry.path());
    return result;
  }

  /// The one complete file there is after a load.
  fs::path onlyFile() {
    load();
    EXPECT_EQ(files().size(), 1u);
    return files().at(0);
  }

  /// A load packs everything again, and what it leaves behind is good.
  void expectRebuilt(const std::string& what) {
    EXPECT_EQ(load(), expected_) << what;
    EXPECT_GT(rows_read_, 0) << what << ": mapped";
    EXPECT_NE(warnings_.find("is made again"), std::string::npos) << what << ": " << warnings_;
    EXPECT_EQ(load(), expected_) << what;
    EXPECT_EQ(rows_read_, 0) << what << ": not repaired";
    EXPECT_EQ(files().size(), 1u) << what;
  }

  fs::path root_;
  program::Program program_ = testing::loadProgram("tiny_llama");
  std::string identity_ = "tiny";
  WeightCacheOptions options_;
  std::unique_ptr<ThreadPool> pool_;
  std::atomic<int64_t> rows_read_ = 0;
  std::string warnings_;
  const std::string expected_ = packed();

 private:
  std::string packed() {
    pool_ = poolOf(2);
    return packedInMemory();
  }
};

TEST_F(WeightCacheTest, TheSecondStartReadsNothing) {
  EXPECT_EQ(load(), expected_);
  EXPECT_GT(rows_read_, 0);
  ASSERT_EQ(files().size(), 1u);
  EXPECT_EQ(load(), expected_);
  EXPECT_EQ(rows_read_, 0);
  EXPECT_EQ(warnings_, "");
}

TEST_F(WeightCacheTest, OthersMayNotEvenRead) {
  struct stat file, directory;
  ASSERT_EQ(::stat(onlyFile().c_str(), &file), 0);
  ASSERT_EQ(::stat(options_.directory.c_str(), &directory), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
  EXPECT_EQ(directory.st_mode & 0777, 0700u);
}

TEST_F(WeightCacheTest, EveryFlippedByteIsFound) {
  const fs::path path = onlyFile();
  const auto size = static_cast<int64_t>(fs::file_size(path));
  const int64_t payload = size - static_cast<int64_t>(expected_.size());
  std::vector<int64_t> places = {payload - 1, payload, payload + 1, payload + static_cast<int64_t>(expected_.size()) / 2, size - 64, size - 1};
  for (int64_t at = 0; at < 56; at += 5) places.push_back(at);            // the fixed part
  for (int64_t at = 60; at < payload; at = at * 3 / 2) places.push_back(at);  // key, checksums, zeros
  for (const int64_t at : places) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 0x20));
    file.close();
    expectRebuilt("byte " + std::to_string(at) + " of " + std::to_string(size));
  }
}

TEST_F(WeightCacheTest, AFileOfAnotherSizeIsMadeAgain) {
  const fs::path path = onlyFile();
  const uint64_t size = fs::file_size(path);
  for (const uint64_t other : {uint64_t{0}, uint64_t{20}, size / 2, size - 1, size + 1}) {
    fs::resize_file(path, other);
    expectRebuilt(std::to_string(other) + " bytes");
  }
}

TEST_F(WeightCacheTest, WhatTheKeyNamesSeparates) {
  load();
  identity_ = "another";
  load();
  EXPECT_GT(rows_read_, 0) << "another source";
  program_.mutable_weights(0)->mutable_slices(0)->set_tensor("another tensor");
  load();
  EXPECT_GT(rows_read_, 0) << "another tensor";
  EXPECT_EQ(files().size(), 3u);
  program_.set_model("another name");
  program_.mutable_weights(0)->set_name("another name");
  load();
  EXPECT_EQ(rows_read_, 0) << "names are not content";
}

TEST_F(WeightCacheTest, AFileOfOtherWeightsUnderThisNameIsNotTrusted) {
  const fs::path path = onlyFile();
  identity_ = "other";  // of the same length and shapes
  load();
  ASSERT_EQ(files().size(), 2u);
  const fs::path other = files()[0] == path ? files()[1] : files()[0];
  fs::rename(other, path);
  identity_ = "tiny";
  expectRebuilt("another key");
}

TEST_F(WeightCacheTest, NothingIsKeptOfUnknownSources) {
  identity_ = "";
  EXPECT_EQ(load(), expected_);
  EXPECT_FALSE(fs::exists(options_.directory));
  EXPECT_EQ(warnings_, "");
}

TEST_F(WeightCacheTest, NothingIsKeptOfASourceThatChangesWhileItIsRead) {
  int asked = 0;
  options_.source_identity = [&] { return std::to_string(asked++); };
  EXPECT_EQ(load(), expected_);
  EXPECT_NE(warnings_.find("changed while they were read"), std::string::npos) << warnings_;
  EXPECT_TRUE(files().empty());
}

TEST_F(WeightCacheTest, SmallWeightsAreNotKept) {
  options_.min_bytes = expected_.size() + 1;
  EXPECT_EQ(load(), expected_);
  EXPECT_FALSE(fs::exists(options_.directory));
}

TEST_F(WeightCacheTest, FilesThatOthersMayWriteAreForeign) {
  const fs::path path = onlyFile();
  ASSERT_EQ(::chmod(path.c_str(), 0620), 0);
  expectRebuilt("writable by its group");
}

TEST_F(WeightCacheTest, FilesOfAnotherUserAreForeign) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  const fs::path path = onlyFile();
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  expectRebuilt("owned by another user");
}

TEST_F(WeightCacheTest, LinksAreForeign) {
  const fs::path path = onlyFile(), moved = root_ / "moved";
  fs::rename(path, moved);
  fs::create_symlink(moved, path);
  const std::string before = readAll(moved);
  expectRebuilt("a symbolic link");
  EXPECT_EQ(readAll(moved), before) << "written through the link";
}

TEST_F(WeightCacheTest, ADirectoryThatOthersMayWriteIsNotUsed) {
  fs::create_directories(options_.directory);
  ASSERT_EQ(::chmod(options_.directory.c_str(), 0777), 0);
  EXPECT_EQ(load(), expected_);
  EXPECT_NE(warnings_.find("others may write"), std::string::npos) << warnings_;
  EXPECT_TRUE(files().empty());
}

TEST_F(WeightCacheTest, WithoutADirectoryTheRunGoesOn) {
  std::ofstream(root_ / "file") << "no directory";
  options_.directory = root_ / "file" / "weights";
  EXPECT_EQ(load(), expected_);
  EXPECT_NE(warnings_.find("cannot create the directory"), std::string::npos) << warnings_;
  EXPECT_EQ(std::count(warnings_.begin(), warnings_.end(), '\n'), 1) << warnings_;
}

TEST_F(WeightCacheTest, AReadersErrorLeavesNothing) {
  const auto fail = [](const program::TensorSlice&, int64_t, std::span<float>) -> Status { return invalid("no such tensor"); };
  const auto loaded = loadWeights(program_, fail, *pool_, {}, options_);
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.error().message().find("no such tensor"), std::string::npos);
  EXPECT_TRUE(files().empty());
}

TEST_F(WeightCacheTest, AKilledProcessLeavesNothingThatIsRead) {
  pool_.reset();  // a fork has one thread
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    pool_ = poolOf(2);
    const auto hang = [&](const program::TensorSlice& slice, int64_t row, std::span<float> out) -> Status {
      if (slice.tensor().find("layers.1") == std::string::npos) return testing::readWeight(slice, row, out);
      (void)!::write(ends[1], "x", 1);
      std::this_thread::sleep_for(std::chrono::minutes(1));
      return invalid("nobody killed this process");
    };
    (void)loadWeights(program_, hang, *pool_, {}, options_);
    ::_exit(1);
  }
  ASSERT_GT(child, 0);
  ::close(ends[1]);
  char byte;
  ASSERT_EQ(::read(ends[0], &byte, 1), 1);
  ::close(ends[0]);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ASSERT_EQ(files().size(), 1u);
  EXPECT_TRUE(files()[0].string().ends_with(".packing"));
  const fs::path other = fs::path(options_.directory) / "0123.exoweights.packing";
  std::ofstream(other) << "of weights that nobody asks for any more";
  ASSERT_EQ(::chmod(other.c_str(), 0600), 0);

  pool_ = poolOf(2);
  EXPECT_EQ(load(), expected_);
  EXPECT_GT(rows_read_, 0);
  ASSERT_EQ(files().size(), 1u);
  EXPECT_TRUE(files()[0].string().ends_with(".exoweights"));
  EXPECT_EQ(load(), expected_);
  EXPECT_EQ(rows_read_, 0);
}

TEST_F(WeightCacheTest, ManyAtOncePackOnce) {
  constexpr int kLoaders = 4;
  load();
  const int64_t rows_of_one = rows_read_;
  fs::remove_all(options_.directory);
  std::atomic<int> started = 0;
  std::atomic<int64_t> rows = 0;
  const auto read = [&](const program::TensorSlice& slice, int64_t row, std::span<float> out) {
    while (started < kLoaders) std::this_thread::yield();
    ++rows;
    return testing::readWeight(slice, row, out);
  };
  std::vector<std::string> results(kLoaders);
  std::vector<std::thread> loaders;
  for (std::string& result : results) {
    loaders.emplace_back([&] {
      WeightCacheOptions options = options_;
      options.warn = {};
      const auto pool = poolOf(1);
      ++started;
      const auto loaded = loadWeights(program_, read, *pool, {}, options);
      if (loaded.ok()) result.assign(reinterpret_cast<const char*>(loaded->memory.data()), loaded->memory.size());
    });
  }
  for (std::thread& loader : loaders) loader.join();
  for (const std::string& result : results) EXPECT_EQ(result, expected_);
  EXPECT_EQ(rows, rows_of_one);
  EXPECT_EQ(files().size(), 1u);
}

/// A lock that somebody holds without getting on.
class Stuck : public WeightCacheTest {
 protected:
  void SetUp() override {
    WeightCacheTest::SetUp();
    const std::string path = onlyFile();
    fs::remove(path);
    lock_ = FileDescriptor(::open((path + ".packing").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::flock(lock_.get(), LOCK_EX), 0);
  }
  FileDescriptor lock_;
};

TEST_F(Stuck, TheOtherIsNotWaitedForForEver) {
  options_.patience = std::chrono::milliseconds(50);
  EXPECT_EQ(load(), expected_);
  EXPECT_NE(warnings_.find("another process packs them into"), std::string::npos) << warnings_;
  EXPECT_NE(warnings_.find("has not got on for 50 ms"), std::string::npos) << warnings_;
}

TEST_F(Stuck, WaitingIsCancelled) {
  std::atomic<bool> cancel = true;
  options_.cancel = &cancel;
  const auto loaded = tryLoad();
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code(), ErrorCode::kCancelled);
}

/// A file system of our own, out of everybody's sight: it is gone when the descriptor is closed.
class SmallDisk : public WeightCacheTest {
 protected:
  void mountOf(uint64_t bytes) {
    const fs::path place = root_ / "disk";
    fs::create_directory(place);
    const std::string size = "mode=0700,size=" + std::to_string(bytes);
    if (::mount("tmpfs", place.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, size.c_str()) != 0) GTEST_SKIP() << "may not mount: a full disk is not tested";
    disk_ = FileDescriptor(::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_EQ(::umount2(place.c_str(), MNT_DETACH), 0);
    options_.directory = "/proc/self/fd/" + std::to_string(disk_.get()) + "/weights";
  }
  FileDescriptor disk_;
};

TEST_F(SmallDisk, AFullDiskCostsTheCacheAlone) {
  ASSERT_NO_FATAL_FAILURE(mountOf(expected_.size() / 2));
  if (IsSkipped()) return;
  EXPECT_EQ(load(), expected_);
  EXPECT_NE(warnings_.find("MiB free"), std::string::npos) << warnings_;
  EXPECT_TRUE(files().empty());
}

TEST_F(SmallDisk, WhatWasUnusedForLongestMakesRoom) {
  ASSERT_NO_FATAL_FAILURE(mountOf(expected_.size() * 5 / 2 + 65536));  // two files, and two heads
  if (IsSkipped()) return;
  for (const char* identity : {"first", "second", "first", "third"}) {
    identity_ = identity;
    EXPECT_EQ(load(), expected_) << identity;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // times of files are as coarse as the system's clock tick
  }
  EXPECT_EQ(files().size(), 2u);
  identity_ = "first";
  load();
  EXPECT_EQ(rows_read_, 0) << "used after the second one, and removed all the same";
}

}  // namespace
}  // namespace exo::runtime
