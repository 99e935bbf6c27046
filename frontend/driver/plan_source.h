// The plan a command works on: a plan directory as it is, or one compiled on the fly into a directory that goes away.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "frontend/driver/compile.h"

namespace exo {

/// A directory of our own under the system's place for temporary files; removed with this object.
class TemporaryDirectory {
 public:
  static Result<TemporaryDirectory> create();
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

struct PlanSource {
  plan::Plan plan;
  std::filesystem::path directory;
  std::optional<TemporaryDirectory> temporary;
};

/// Whether there is a plan in this directory.
bool isPlan(const std::filesystem::path& directory);

/// `spec`: a plan directory, or a model to compile with `options`.
Result<PlanSource> openPlan(const std::string& spec, const CompileOptions& options);

}  // namespace exo
