// Pulling from a hub on loopback (hub_server.py) that breaks off, lies, refuses and stalls.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "frontend/hub/cache.h"
#include "frontend/hub/pull.h"

namespace exo::hub {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::string contentOf(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A program that ends when its stdin is closed.
class Server {
 public:
  explicit Server(const fs::path& root) {
    int in[2], out[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    const std::string folder = root.string();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::execlp(EXO_PYTHON, "python3", EXO_HUB_SERVER, folder.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    in_ = in[1];
    out_ = ::fdopen(out[0], "r");
    EXPECT_EQ(std::fscanf(out_, "%d%*c", &port_), 1);   // one character more, not all white space: that would wait for a line
  }
  ~Server() {
    ::close(in_);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    std::fclose(out_);
  }
  int port() const { return port_; }
  /// The requests until now, a line each.
  std::string requests() {
    ::fcntl(::fileno(out_), F_SETFL, O_NONBLOCK);
    char buffer[4096];
    while (std::fgets(buffer, sizeof buffer, out_)) requests_ += buffer;
    std::clearerr(out_);
    return requests_;
  }

 private:
  pid_t pid_;
  int in_, port_ = 0;
  std::FILE* out_;
  std::string requests_;
};

class Pull : public ::testing::Test {
 protected:
  static constexpr size_t kWeightBytes = 300'000;

  Pull() : folder_(fs::temp_directory_path() / ("exo-hub-" + std::to_string(::getpid()))) {
    std::mt19937 random(7);
    weights_.resize(kWeightBytes);
    for (char& c : weights_) c = static_cast<char>(random());
    put("config.json", "{\"model_type\": \"llama\"}");
    put("model.safetensors", weights_);
    put("README.md", "not wanted");
    put("original/consolidated.pth", "not wanted");
    server_ = std::make_unique<Server>(folder_ / "hub");
    environment_ = {.endpoint = "http://127.0.0.1:" + std::to_string(server_->port()), .token = "", .cache = folder_ / "cache", .offline = false};
    options_.http.first_pause = 1ms;
    options_.http.stalled = 2s;
    options_.connections = 2;
  }
  ~Pull() override {
    server_.reset();
    std::error_code error;
    fs::remove_all(folder_, error);
  }

  void put(const std::string& path, const std::string& content) {
    const fs::path file = folder_ / "hub" / "org" / "name" / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
  }
  void behave(const std::string& json) { std::ofstream(folder_ / "hub" / "behaviour.json") << json; }
  Result<fs::path> pullIt(const std::string& spec = "org/name") { return pull(environment_, *parseRepository(spec), options_); }
  fs::path repositoryFolder() const { return folder_ / "cache" / "models--org--name"; }
  /// The one file whose name ends so; empty where there is none.
  fs::path blobEnding(const std::string& end) const {
    for (const auto& entry : fs::directory_iterator(repositoryFolder() / "blobs")) {
      if (entry.path().string().ends_with(end)) return entry.path();
    }
    return {};
  }
  void expectWhole(const Result<fs::path>& pulled) {
    ASSERT_TRUE(pulled.ok()) << pulled.error();
    EXPECT_EQ(contentOf(*pulled / "model.safetensors"), weights_);
    EXPECT_TRUE(blobEnding(".incomplete").empty());
  }

  fs::path folder_;
  std::string weights_;
  std::unique_ptr<Server> server_;
  Environment environment_;
  PullOptions options_;
};

TEST_F(Pull, FilesLieAsOtherToolsExpectThem) {
  PullProgress last;
  options_.on_progress = [&](const PullProgress& progress) { last = progress; };
  const auto pulled = pullIt();
  expectWhole(pulled);
  EXPECT_EQ(contentOf(*pulled / "config.json"), "{\"model_type\": \"llama\"}");
  const std::string commit = contentOf(repositoryFolder() / "refs" / "main");
  EXPECT_EQ(*pulled, repositoryFolder() / "snapshots" / commit);
  EXPECT_TRUE(fs::read_symlink(*pulled / "model.safetensors").string().starts_with("../../blobs/"));
  EXPECT_EQ(fs::read_symlink(*pulled / "model.safetensors").filename().string().size(), 64u) << "SHA-256";
  EXPECT_EQ(fs::read_symlink(*pulled / "config.json").filename().string().size(), 40u) << "a git blob";
  EXPECT_FALSE(fs::exists(*pulled / "README.md"));
  EXPECT_EQ(last.done_bytes, last.total_bytes);
  EXPECT_EQ(last.done_files, 2);
  EXPECT_EQ(*findPulled(environment_, *parseRepository("org/name")), *pulled);
  EXPECT_EQ(*findPulled(environment_, *parseRepository("org/name@" + commit)), *pulled);
}

TEST_F(Pull, ASecondTimeAsksForNoFile) {
  expectWhole(pullIt());
  const size_t before = server_->requests().size();
  expectWhole(pullIt());
  const std::string after = server_->requests().substr(before);
  EXPECT_EQ(after.find("/resolve/"), std::string::npos) << after;
}

TEST_F(Pull, BrokenConnectionsGoOnWhereTheyEnded) {
  behave(R"({"cut_after": 70000})");
  expectWhole(pullIt());
  EXPECT_NE(server_->requests().find("bytes=70000-299999"), std::string::npos) << server_->requests();
}

TEST_F(Pull, AKilledDownloadGoesOnWhereItEnded) {
  expectWhole(pullIt());
  const fs::path blob = fs::weakly_canonical(*findPulled(environment_, *parseRepository("org/name")) / "model.safetensors");
  fs::resize_file(blob, 100'000);   // as a download that was killed leaves it
  fs::rename(blob, blob.string() + ".incomplete");
  expectWhole(pullIt());
  EXPECT_NE(server_->requests().find("bytes=100000-299999"), std::string::npos) << server_->requests();
}

TEST_F(Pull, AServerWithoutRangesStartsAgain) {
  behave(R"({"cut_after": 299000, "ignore_range": true})");
  options_.http.tries = 2;
  EXPECT_FALSE(pullIt().ok()) << "it never gets to the end";
  behave(R"({"ignore_range": true})");
  expectWhole(pullIt());
}

TEST_F(Pull, RemainsThatWereDamagedAreFetchedAnew) {
  expectWhole(pullIt());
  const fs::path blob = fs::weakly_canonical(*findPulled(environment_, *parseRepository("org/name")) / "model.safetensors");
  fs::remove(blob);
  std::ofstream(blob.string() + ".incomplete") << std::string(5000, 'x');
  expectWhole(pullIt());
}

TEST_F(Pull, OtherContentThanTheHubNamesIsNotKept) {
  behave(R"({"damage": "model.safetensors"})");
  const auto pulled = pullIt();
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.error().code(), ErrorCode::kMismatch);
  EXPECT_NE(pulled.error().message().find("model.safetensors"), std::string::npos);
  EXPECT_FALSE(findPulled(environment_, *parseRepository("org/name")).ok()) << "the revision is known only when all is there";
  behave("{}");
  expectWhole(pullIt());
}

TEST_F(Pull, BusyServersAreAskedAgain) {
  behave(R"({"fail": 3})");
  expectWhole(pullIt());
}

TEST_F(Pull, AServerThatIsAlwaysBusyIsGivenUp) {
  behave(R"({"fail": 1000})");
  const auto pulled = pullIt();
  ASSERT_FALSE(pulled.ok());
  EXPECT_NE(pulled.error().message().find("503"), std::string::npos);
}

TEST_F(Pull, AStallIsNoticed) {
  behave(R"({"stall": "model.safetensors"})");
  options_.http.tries = 1;
  const auto start = std::chrono::steady_clock::now();
  const auto pulled = pullIt();
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.error().code(), ErrorCode::kTimeout);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 15s);
}

TEST_F(Pull, CancellingKeepsWhatCame) {
  behave(R"({"stall": "model.safetensors"})");
  std::atomic<bool> cancel = false;
  options_.cancel = &cancel;
  options_.http.stalled = 60s;
  options_.on_progress = [&](const PullProgress& progress) { cancel = progress.done_bytes > kWeightBytes / 4; };
  const auto pulled = pullIt();
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.error().code(), ErrorCode::kCancelled);
  EXPECT_GT(fs::file_size(blobEnding(".incomplete")), kWeightBytes / 4);
}

TEST_F(Pull, TheTokenOpensAndStaysWithItsHost) {
  behave(R"({"token": "secret"})");
  const auto closed = pullIt();
  ASSERT_FALSE(closed.ok());
  EXPECT_EQ(closed.error().code(), ErrorCode::kInvalidInput);
  EXPECT_NE(closed.error().message().find("HF_TOKEN"), std::string::npos);
  environment_.token = "secret";
  expectWhole(pullIt());
  std::istringstream lines(server_->requests());
  for (std::string line; std::getline(lines, line);) {
    EXPECT_FALSE(line.starts_with("/cdn/") && line.find("secret") != std::string::npos) << line;
  }
}

TEST_F(Pull, LongListsComeInPages) {
  for (int i = 0; i < 9; ++i) put("part" + std::to_string(i) + ".json", "{}");
  behave(R"({"page": 3})");
  const auto pulled = pullIt();
  expectWhole(pulled);
  EXPECT_TRUE(fs::exists(*pulled / "part8.json"));
}

TEST_F(Pull, AListThatLeadsOutOfItsFolderIsRefused) {
  behave(R"({"list": [{"type": "file", "path": "../../evil.json", "size": 1, "oid": "0123456789012345678901234567890123456789"}]})");
  const auto pulled = pullIt();
  ASSERT_FALSE(pulled.ok());
  EXPECT_NE(pulled.error().message().find("../../evil.json"), std::string::npos);
}

TEST_F(Pull, UnknownRepositoriesAndRevisionsAreNotFound) {
  EXPECT_EQ(pullIt("org/other").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(pullIt("org/name@dev").error().code(), ErrorCode::kNotFound);
}

TEST_F(Pull, OfflineTakesWhatIsThere) {
  environment_.offline = true;
  const auto missing = pullIt();
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message().find("exoc pull org/name"), std::string::npos);
  environment_.offline = false;
  expectWhole(pullIt());
  server_.reset();
  environment_.offline = true;
  expectWhole(pullIt());
}

TEST_F(Pull, TwoAtOnceShareTheWork) {
  behave(R"({"cut_after": 50000})");
  std::optional<Result<fs::path>> other;
  {
    std::jthread thread([&] { other = pullIt(); });
    expectWhole(pullIt());
  }
  expectWhole(*other);
}

TEST_F(Pull, ALockHolderThatLivesIsWaitedForUntilCancelled) {
  const Cache cache(environment_.cache, *parseRepository("org/name"));
  ASSERT_TRUE(cache.prepare(std::string(40, 'a')).ok());
  const RemoteFile file{.path = "x", .size_bytes = 1, .digest = std::string(64, 'b')};
  const auto held = cache.lock(file, nullptr);
  ASSERT_TRUE(held.ok());
  std::atomic<bool> cancel = true;
  EXPECT_EQ(cache.lock(file, &cancel).error().code(), ErrorCode::kCancelled);
}

}  // namespace
}  // namespace exo::hub
