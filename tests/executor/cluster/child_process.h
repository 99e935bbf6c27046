// A child process whose output tests read as it comes.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

extern char** environ;

namespace exo {

class ChildProcess {
 public:
  using Clock = std::chrono::steady_clock;

  /// words[0] is the program. Its stdout (and stderr, for kBoth) is read here.
  enum class Capture { kStdout, kBoth };
  explicit ChildProcess(std::vector<std::string> words, Capture capture = Capture::kStdout) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    if (capture == Capture::kBoth) posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    EXPECT_EQ(::posix_spawnp(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ), 0) << words[0];
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    output_fd_ = ends[0];
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(output_fd_);
  }

  pid_t pid() const { return pid_; }
  void signal(int number) { ::kill(pid_, number); }

  /// Reads until `what` has been printed; the rest of its line, or nothing after twenty seconds.
  std::string waitFor(const std::string& what) {
    const auto deadline = Clock::now() + std::chrono::seconds(20);
    for (;;) {
      const size_t at = output_.find(what);
      const size_t end = at == std::string::npos ? at : output_.find('\n', at);
      if (end != std::string::npos) return output_.substr(at + what.size(), end - at - what.size());
      if (!readMore(deadline)) return "";
    }
  }

  /// The exit code, 128 + the signal that ended it, or -1 when it does not end within `timeout`.
  int wait(std::chrono::milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (Clock::now() > deadline) return -1;
      readMore(Clock::now() + std::chrono::milliseconds(5));
    }
    pid_ = -1;
    while (readMore(Clock::now() + std::chrono::milliseconds(100))) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  /// True when everyone who could write to its output, grandchildren included, has ended within `timeout`.
  bool outputEnds(std::chrono::milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    while (readMore(deadline)) {}
    return ended_;
  }
  const std::string& output() const { return output_; }

 private:
  bool readMore(Clock::time_point deadline) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd ready{output_fd_, POLLIN, 0};
    if (ended_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      return false;
    }
    if (left < 0 || ::poll(&ready, 1, static_cast<int>(left)) <= 0) return false;
    char buffer[4096];
    const ssize_t count = ::read(output_fd_, buffer, sizeof buffer);
    ended_ = count <= 0;
    if (count > 0) output_.append(buffer, static_cast<size_t>(count));
    return count > 0;
  }

  pid_t pid_ = -1;
  int output_fd_ = -1;
  bool ended_ = false;
  std::string output_;
};

}  // namespace exo
