#include "common/config/problems.h"

#include <algorithm>
#include <tuple>

namespace cairn {

OriginTree& OriginTree::Make(int number, int index, const Origin& where) {
  std::vector<std::unique_ptr<OriginTree>>& nodes = fields[number];
  while (nodes.size() <= static_cast<std::size_t>(index)) {
    nodes.push_back(std::make_unique<OriginTree>());
    nodes.back()->origin = where;
  }
  return *nodes[static_cast<std::size_t>(index)];
}

const OriginTree& OriginTree::At(int number, int index) const {
  const auto found = fields.find(number);
  if (found == fields.end() || found->second.size() <= static_cast<std::size_t>(index)) {
    return *this;
  }
  return *found->second[static_cast<std::size_t>(index)];
}

void ProblemList::Add(const Origin& origin, std::string message) {
  problems_.push_back({origin, std::move(message)});
}

Status ProblemList::ToStatus() const {
  if (problems_.empty()) return OkStatus();
  constexpr std::size_t kMostShown = 100;
  std::vector<Problem> sorted = problems_;
  const auto key = [](const Problem& problem) {
    const Origin& origin = problem.origin;
    return std::tuple(origin.override_index, origin.line, origin.column);
  };
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&key](const Problem& a, const Problem& b) { return key(a) < key(b); });
  std::string text;
  for (std::size_t i = 0; i < sorted.size() && i < kMostShown; ++i) {
    const Origin& origin = sorted[i].origin;
    if (!text.empty()) text += "\n";
    if (origin.override_index >= 0) {
      StrAppend(text, "--set ", overrides_[static_cast<std::size_t>(origin.override_index)]);
    } else {
      StrAppend(text, source_, ":", origin.line, ":", origin.column);
    }
    StrAppend(text, ": ", sorted[i].message);
  }
  if (sorted.size() > kMostShown) {
    StrAppend(text, "\nand ", sorted.size() - kMostShown, " more problems");
  }
  return absl::InvalidArgumentError(text);
}

}  // namespace cairn
