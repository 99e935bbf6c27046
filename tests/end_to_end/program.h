// Programs as their users run them: processes started by tests, waited for with a bound, found and ended with all they
// started. Each has a folder for its temporary files and a mark in its environment, which its children inherit.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace exo::testing {

using Words = std::vector<std::string>;

/// A folder of the test's own, removed with this object.
class Folder {
 public:
  Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder();
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

struct Outcome {
  int exit_code = 0;  // 128 + signal where one ended it; kTimedOut
  std::string out, err;
  std::chrono::milliseconds took{0};
};
constexpr int kTimedOut = -1;

/// What a failing test prints.
std::string describe(const Outcome& outcome);

class Program {
 public:
  /// words[0]: the program. It runs in a folder of its own, which is also its TMPDIR.
  explicit Program(const Words& words);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  /// Kills what is left of it and of what it started.
  ~Program();

  pid_t pid() const { return pid_; }
  bool running();
  /// Until it ends; it is killed when that takes longer than `timeout` from its start.
  Outcome wait(std::chrono::milliseconds timeout);
  /// The same, from now.
  Outcome waitFromNow(std::chrono::milliseconds timeout);
  /// Until its stdout or stderr contains `text`; false when it ends before, or when that takes longer.
  bool waitForOutput(const std::string& text, std::chrono::milliseconds timeout);
  std::string out() const;
  std::string err() const;

  struct Process {
    pid_t pid;
    std::string command_line;
  };
  /// The processes it started, at any depth, that still run; not itself.
  std::vector<Process> children() const;
  /// The exo-exec of this node; 0 if there is none.
  pid_t node(const std::string& name) const;
  /// Until children() is empty; false when that takes longer.
  bool waitUntilAlone(std::chrono::milliseconds timeout) const;
  /// Names of the files it has left in its folder and TMPDIR.
  Words leftovers() const;

 private:
  bool reap(int flags);
  Folder folder_;
  std::string mark_;
  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;  // files in memory
  int status_ = 0;
  std::chrono::steady_clock::time_point started_;
};

/// Runs exoc, or exo-exec, to its end.
Outcome exoc(const Words& arguments, std::chrono::milliseconds timeout = std::chrono::seconds(60));
Words exocWords(const Words& arguments);
Words executorWords(const Words& arguments);

std::string readFile(const std::filesystem::path& path);
void writeFile(const std::filesystem::path& path, const std::string& bytes);
/// A copy of a directory of files.
void copyFolder(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace exo::testing
