#include "frontend/driver/plan_source.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace exo {

namespace fs = std::filesystem;

Result<TemporaryDirectory> TemporaryDirectory::create() {
  std::error_code error;
  std::string pattern = (fs::temp_directory_path(error) / "exoc-XXXXXX").string();
  if (error || !::mkdtemp(pattern.data())) return makeError(ErrorCode::kIo, "cannot create a temporary directory: ", std::strerror(errno));
  return TemporaryDirectory(pattern);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

bool isPlan(const fs::path& directory) {
  std::error_code error;
  return fs::exists(directory / "plan.pb", error);
}

Result<PlanSource> openPlan(const std::string& spec, const CompileOptions& options) {
  PlanSource source;
  if (isPlan(spec)) {
    source.directory = spec;
  } else {
    EXO_ASSIGN(const Model model, openModel(spec));
    if (!model.checkpoint && !options.random_seed) return invalid(model.name, " has no weights; --random_weights SEED makes some up");
    EXO_ASSIGN(const Compiled compiled, compile(model, options));
    EXO_ASSIGN(TemporaryDirectory temporary, TemporaryDirectory::create());
    source.directory = temporary.path() / "plan";
    EXO_TRY(writePlan(compiled, {DumpIr::kNone, ""}, source.directory));
    source.temporary.emplace(std::move(temporary));
  }
  EXO_ASSIGN(source.plan, loadPlan(source.directory));
  return source;
}

}  // namespace exo
