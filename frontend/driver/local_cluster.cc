#include "frontend/driver/local_cluster.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "ir/base/machine.h"

namespace exo {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct LocalCluster::Child {
  std::string node;
  pid_t pid = -1;
  int events = -1;                        // read end of its status pipe
  std::string unread;
  std::string address;
  bool ready = false, ended = false;
  uint64_t done_bytes = 0, total_bytes = 0;
  std::optional<Error> error;
  ~Child() {
    if (events >= 0) ::close(events);
  }
};

namespace {

/// The processors of node `index`: `threads` of them, side by side; nodes share when there are too few. Executors pin
/// their threads inside what they are given: without this, all of them would choose the first.
std::optional<ProcessorSet> coresOf(size_t index, int threads) {
  const std::vector<int> all = allowedProcessors();
  if (all.empty()) return std::nullopt;
  ProcessorSet cores;
  for (size_t t = 0; t < static_cast<size_t>(threads); ++t) cores.add(all[(index * static_cast<size_t>(threads) + t) % all.size()]);
  return cores;
}

// A node that profiles writes at the end.
constexpr milliseconds kProfilePatience{8000};

ErrorCode codeNamed(const std::string& text) {
  for (int c = 0; c <= static_cast<int>(ErrorCode::kMismatch); ++c) {
    if (text == name(static_cast<ErrorCode>(c))) return static_cast<ErrorCode>(c);
  }
  return ErrorCode::kPeerLost;
}

/// In the child: nothing here may allocate or fail silently.
[[noreturn]] void becomeExecutor(const char* path, char* const* arguments, pid_t parent, const std::optional<ProcessorSet>& cores) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // the parent died before the line above
  ::setpgid(0, 0);                        // an interrupt on the terminal reaches us, and we end the children
  if (cores) cores->applyToThisThread();
  ::execv(path, arguments);
  ::_exit(127);
}

}  // namespace

fs::path executorPath() {
  if (const char* path = std::getenv("EXO_EXEC")) return path;
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path() / "exo-exec";
}

Result<std::unique_ptr<LocalCluster>> LocalCluster::start(const plan::Plan& plan, const fs::path& directory, const LocalClusterOptions& given, const std::atomic<bool>* cancel) {
  std::vector<std::string> nodes(static_cast<size_t>(plan.programs_size()));
  for (const plan::Node& node : plan.nodes()) {
    if (node.has_rank() && node.rank() < nodes.size()) nodes[node.rank()] = node.name();
  }
  if (nodes.empty()) return makeError(ErrorCode::kMismatch, "the plan has no programs");
  LocalClusterOptions options = given;
  // One node takes the machine and pins its threads; several get processors of their own.
  if (options.threads == 0 && nodes.size() > 1) options.threads = std::max(1, static_cast<int>(allowedProcessors().size() / nodes.size()));
  std::unique_ptr<LocalCluster> cluster(new LocalCluster());
  if (!options.profiles.empty()) cluster->end_patience_ = kProfilePatience;
  EXO_TRY(cluster->spawn(nodes[0], directory, options));
  EXO_TRY(cluster->waitFor([&] { return !cluster->children_[0]->address.empty(); }, "to listen", options, cancel));
  cluster->address_ = cluster->children_[0]->address;
  for (size_t r = 1; r < nodes.size(); ++r) EXO_TRY(cluster->spawn(nodes[r], directory, options));
  const auto all_ready = [&] { return std::all_of(cluster->children_.begin(), cluster->children_.end(), [](const auto& child) { return child->ready; }); };
  EXO_TRY(cluster->waitFor(all_ready, "to be ready", options, cancel));
  return cluster;
}

Status LocalCluster::spawn(const std::string& node, const fs::path& directory, const LocalClusterOptions& options) {
  const std::string path = executorPath().string();
  if (::access(path.c_str(), X_OK) != 0) return makeError(ErrorCode::kNotFound, "cannot run ", path, ": ", std::strerror(errno), " (EXO_EXEC names another place)");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return makeError(ErrorCode::kIo, "cannot make a pipe: ", std::strerror(errno));
  constexpr int kStatusFd = 3;
  std::vector<std::string> arguments = {path, "--plan=" + directory.string(), "--node=" + node, "--listen=127.0.0.1:0", "--threads=" + std::to_string(options.threads),
                                        "--isa=" + options.isa, "--transport=" + options.transport, "--tune=" + options.tune, "--weight_cache_dir=" + options.weight_cache_dir, "--die_with_parent", "--status_fd=" + std::to_string(kStatusFd)};
  if (!address_.empty()) arguments.push_back("--coordinator=" + address_);
  if (children_.empty() && !options.http.empty()) arguments.insert(arguments.end(), options.http.begin(), options.http.end());
  else arguments.push_back("--http=none");
  if (!options.profiles.empty()) arguments.push_back("--profile=" + (options.profiles / ("rank-" + std::to_string(children_.size()) + ".json")).string());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const std::optional<ProcessorSet> cores = coresOf(children_.size(), options.threads);
  const pid_t parent = ::getpid(), pid = ::fork();
  if (pid == 0) {
    if (ends[1] == kStatusFd) ::fcntl(kStatusFd, F_SETFD, 0);
    else ::dup2(ends[1], kStatusFd);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);  // our stdout is for text
    becomeExecutor(path.c_str(), argv.data(), parent, cores);
  }
  ::close(ends[1]);
  auto child = std::make_unique<Child>();
  child->node = node;
  child->pid = pid;
  child->events = ends[0];
  if (pid < 0) return makeError(ErrorCode::kIo, "cannot start a process: ", std::strerror(errno));
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  children_.push_back(std::move(child));
  return {};
}

void LocalCluster::handle(Child& child, const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) return;
  const std::string event = json.value("event", "");
  if (event == "listening") child.address = json.value("address", "");
  if (event == "serving") url_ = json.value("url", "");
  if (event == "ready") child.ready = true;
  if (event == "link" && child.node < json.value("to", "")) links_.push_back({child.node, json.value("to", ""), json.value("transport", ""), json.value("why", "")});
  if (event == "loading") {
    child.done_bytes = json.value("done", uint64_t{0});
    child.total_bytes = json.value("total", uint64_t{0});
  }
  if (event == "error") child.error = makeError(codeNamed(json.value("code", "")), "node ", child.node, ": ", json.value("message", "unknown error"));
}

void LocalCluster::readEvents(milliseconds wait) {
  std::vector<pollfd> polled;
  for (const auto& child : children_) polled.push_back({child->ended ? -1 : child->events, POLLIN, 0});
  if (::poll(polled.data(), polled.size(), static_cast<int>(wait.count())) <= 0) return;
  for (size_t c = 0; c < children_.size(); ++c) {
    if (!polled[c].revents) continue;
    Child& child = *children_[c];
    char buffer[4096];
    const ssize_t n = ::read(child.events, buffer, sizeof buffer);
    if (n == 0) child.ended = true;
    if (n > 0) child.unread.append(buffer, static_cast<size_t>(n));
    for (size_t end; (end = child.unread.find('\n')) != std::string::npos; child.unread.erase(0, end + 1)) handle(child, child.unread.substr(0, end));
  }
}

std::optional<Error> LocalCluster::failure() {
  const auto until = steady_clock::now() + milliseconds(500);  // the cause may arrive after the effect
  do {
    readEvents(milliseconds(50));
    for (const auto& child : children_) {
      if (child->error) return child->error;
    }
  } while (steady_clock::now() < until);
  for (const auto& child : children_) {
    if (child->ended) return makeError(ErrorCode::kPeerLost, "node ", child->node, " has ended without a word");
  }
  return std::nullopt;
}

Status LocalCluster::waitFor(const std::function<bool()>& done, const char* what, const LocalClusterOptions& options, const std::atomic<bool>* cancel) {
  auto until = steady_clock::now() + options.timeout;
  uint64_t last = 0;  // a load that advances may take as long as it needs
  while (!done()) {
    readEvents(milliseconds(50));
    if (cancel && *cancel) return makeError(ErrorCode::kCancelled, "interrupted");
    uint64_t sum = 0, total = 0;
    for (const auto& child : children_) {
      if (child->error) return Error(*child->error);
      if (child->ended) {
        if (auto error = failure()) return std::move(*error);
      }
      sum += child->done_bytes;
      total += child->total_bytes;
    }
    if (options.on_loading && total > 0) options.on_loading(sum, total);
    if (sum != last) until = steady_clock::now() + options.timeout;
    last = sum;
    if (steady_clock::now() < until) continue;
    std::string missing;
    for (const auto& child : children_) {
      if (!child->ready) missing += " " + child->node;
    }
    return makeError(ErrorCode::kTimeout, "waited ", options.timeout.count(), " s without progress for nodes", missing, " ", what);
  }
  return {};
}

void LocalCluster::drain(const std::function<bool()>& hurry) {
  const Child& first = *children_.at(0);
  ::kill(first.pid, SIGTERM);
  bool hurried = false;
  auto until = steady_clock::time_point::max();
  while (!first.ended && steady_clock::now() < until) {
    readEvents(milliseconds(50));
    if (hurried || !hurry()) continue;
    hurried = true;
    ::kill(first.pid, SIGTERM);
    until = steady_clock::now() + end_patience_;
  }
}

void LocalCluster::stop() {
  for (const auto& child : children_) {
    if (child->pid > 0) ::kill(child->pid, SIGTERM);
  }
  const auto until = steady_clock::now() + end_patience_;
  for (const auto& child : children_) {
    while (child->pid > 0) {
      const pid_t ended = ::waitpid(child->pid, nullptr, WNOHANG);
      if (ended == child->pid || (ended < 0 && errno == ECHILD)) break;
      if (steady_clock::now() > until) {
        ::kill(child->pid, SIGKILL);
        ::waitpid(child->pid, nullptr, 0);
        break;
      }
      readEvents(milliseconds(10));  // a child must not block on a full pipe
      ::usleep(2000);
    }
    child->pid = -1;
  }
}

LocalCluster::~LocalCluster() { stop(); }

}  // namespace exo
