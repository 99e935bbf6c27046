#include "tests/end_to_end/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

extern char** environ;

namespace exo::testing {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds kPoll{10};
constexpr const char* kMark = "EXO_TEST_PROGRAM=";

std::string readAll(int fd) {
  std::string text;
  char buffer[65536];
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(fd, buffer, sizeof buffer, at);
    if (n <= 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    at += n;
  }
}

/// Of a file in /proc, where the size is not known before.
std::string readProc(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  ::close(fd);
  return text;
}

std::vector<char*> pointers(Words& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

Words environment(const std::string& mark, const fs::path& temporary) {
  Words result = {mark, "TMPDIR=" + temporary.string(), std::string("EXO_EXEC=") + EXO_TEST_EXECUTOR, std::string("XDG_CACHE_HOME=") + EXO_TEST_CACHE};
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    bool ours = text.starts_with(kMark);
    for (const char* name : {"TMPDIR=", "EXO_EXEC=", "XDG_CACHE_HOME="}) ours = ours || text.starts_with(name);
    if (!ours) result.push_back(text);
  }
  return result;
}

}  // namespace

Folder::Folder() {
  std::string pattern = (fs::temp_directory_path() / "exo-test-XXXXXX").string();
  EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
  path_ = pattern;
}

Folder::~Folder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string describe(const Outcome& outcome) {
  std::ostringstream text;
  text << "exit code " << outcome.exit_code << " after " << outcome.took.count() << " ms\nstdout: " << outcome.out.substr(0, 4000) << "\nstderr: " << outcome.err.substr(0, 4000);
  return text.str();
}

Program::Program(const Words& given) : started_(steady_clock::now()) {
  static std::atomic<int> count = 0;
  mark_ = kMark + std::to_string(::getpid()) + "." + std::to_string(++count);
  fs::create_directory(folder_ / "tmp");
  Words words = given, variables = environment(mark_, folder_ / "tmp");
  const std::vector<char*> argv = pointers(words), envp = pointers(variables);
  out_ = ::memfd_create("stdout", MFD_CLOEXEC);
  err_ = ::memfd_create("stderr", MFD_CLOEXEC);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing < 0 || ::chdir(folder_.path().c_str()) != 0) ::_exit(127);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(out_, STDOUT_FILENO);
    ::dup2(err_, STDERR_FILENO);
    // Several nodes may write at once.
    ::fcntl(STDOUT_FILENO, F_SETFL, O_APPEND);
    ::fcntl(STDERR_FILENO, F_SETFL, O_APPEND);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  EXPECT_GT(pid_, 0);
}

Program::~Program() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    reap(0);
  }
  for (const Process& child : children()) ::kill(child.pid, SIGKILL);
  ::close(out_);
  ::close(err_);
}

bool Program::reap(int flags) {
  if (pid_ <= 0 || ::waitpid(pid_, &status_, flags) != pid_) return pid_ <= 0;
  pid_ = -1;
  return true;
}

Outcome Program::wait(milliseconds timeout) {
  Outcome outcome;
  while (!reap(WNOHANG) && steady_clock::now() - started_ < timeout) std::this_thread::sleep_for(kPoll);
  const bool late = pid_ > 0;
  if (late) {
    ::kill(pid_, SIGKILL);
    reap(0);
  }
  outcome.exit_code = late ? kTimedOut : WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
  outcome.out = out();
  outcome.err = err();
  outcome.took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - started_);
  return outcome;
}

bool Program::running() { return !reap(WNOHANG); }

Outcome Program::waitFromNow(milliseconds timeout) {
  return wait(std::chrono::duration_cast<milliseconds>(steady_clock::now() - started_) + timeout);
}

bool Program::waitForOutput(const std::string& text, milliseconds timeout) {
  const auto until = steady_clock::now() + timeout;
  for (;;) {
    const bool ended = reap(WNOHANG);
    if (out().find(text) != std::string::npos || err().find(text) != std::string::npos) return true;
    if (ended || steady_clock::now() > until) return false;
    std::this_thread::sleep_for(kPoll);
  }
}

std::string Program::out() const { return readAll(out_); }
std::string Program::err() const { return readAll(err_); }

std::vector<Program::Process> Program::children() const {
  std::vector<Process> result;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || pid == pid_) continue;
    const std::string variables = '\0' + readProc(entry.path() / "environ") + '\0';
    if (variables.find('\0' + mark_ + '\0') == std::string::npos) continue;  // also of a process that has ended
    std::string line = readProc(entry.path() / "cmdline");
    for (char& c : line) c = c ? c : ' ';
    result.push_back({pid, line});
  }
  return result;
}

pid_t Program::node(const std::string& name) const {
  for (const Process& child : children()) {
    if (child.command_line.find("--node=" + name + " ") != std::string::npos) return child.pid;
  }
  return 0;
}

bool Program::waitUntilAlone(milliseconds timeout) const {
  const auto until = steady_clock::now() + timeout;
  while (!children().empty()) {
    if (steady_clock::now() > until) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

Words Program::leftovers() const {
  Words result;
  for (const fs::path& folder : {folder_.path(), folder_ / "tmp"}) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path() != folder_ / "tmp") result.push_back(entry.path().filename().string());
    }
  }
  return result;
}

Outcome exoc(const Words& arguments, milliseconds timeout) { return Program(exocWords(arguments)).wait(timeout); }

Words exocWords(const Words& arguments) {
  Words words = {EXO_TEST_COMPILER};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

Words executorWords(const Words& arguments) {
  Words words = {EXO_TEST_EXECUTOR};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

std::string readFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void writeFile(const fs::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  EXPECT_TRUE(file) << path;
}

void copyFolder(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) fs::copy(entry.path(), to / entry.path().filename(), fs::copy_options::recursive);
}

}  // namespace exo::testing
