#include "frontend/driver/joined_profile.h"

#include <nlohmann/json.hpp>

#include "frontend/checkpoint/replacing_file.h"
#include "frontend/driver/commands/commands.h"

namespace exo {

Result<std::string> joinProfiles(const std::filesystem::path& directory, int num_ranks, const std::filesystem::path& path) {
  nlohmann::json joined = {{"displayTimeUnit", "ns"}, {"traceEvents", nlohmann::json::array()}};
  std::string tables;
  for (int rank = 0; rank < num_ranks; ++rank) {
    EXO_ASSIGN(const std::string text, readTextFile((directory / ("rank-" + std::to_string(rank) + ".json")).string()));
    nlohmann::json profile = nlohmann::json::parse(text, nullptr, false);
    if (profile.is_discarded() || !profile.contains("traceEvents")) return makeError(ErrorCode::kIo, "the profile of rank ", rank, " is damaged");
    for (auto& event : profile["traceEvents"]) joined["traceEvents"].push_back(std::move(event));
    tables += profile["otherData"].value("table", "");
  }
  joined["otherData"] = {{"table", tables}};
  EXO_TRY(replaceFile(path, joined.dump()));
  return tables;
}

}  // namespace exo
