// "Did you mean …": the known name nearest to one that is not known.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace exo {

/// Number of single-character insertions, deletions, replacements and swaps of neighbours between the two.
size_t editDistance(std::string_view a, std::string_view b);

/// The nearest of `known` when it is near enough to be a slip of the pen: distance at most 1 + length/4.
std::optional<std::string> suggest(std::string_view unknown, std::span<const std::string> known);

/// "; did you mean \"x\"?" or nothing: to be appended to a message.
std::string didYouMean(std::string_view unknown, std::span<const std::string> known);

}  // namespace exo
