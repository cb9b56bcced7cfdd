#include <map>
#include <set>

#include "common/config/effective_parts.h"
#include "common/config/suggest.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using proto::TableConfig;

// Overrides by name, with problems for those without or with a known one.
std::map<std::string, int> OverridesByName(const OriginTree& origins, const proto::JobConfig& job,
                                           ProblemList* problems) {
  std::map<std::string, int> by_name;
  for (int i = 0; i < job.table_size(); ++i) {
    const OriginTree& node = origins.At(proto::JobConfig::kTableFieldNumber, i);
    const std::string& name = job.table(i).name();
    if (name.empty()) {
      if (!node.damaged) problems->Add(node.origin, StrCat("table[", i, "].name is required"));
      continue;
    }
    const auto [found, is_new] = by_name.try_emplace(name, i);
    if (is_new) continue;
    const OriginTree& first = origins.At(proto::JobConfig::kTableFieldNumber, found->second);
    problems->Add(node.At(TableConfig::kNameFieldNumber).origin,
                  StrCat("there is another table \"", name, "\", named ",
                         DescribeOrigin(first.At(TableConfig::kNameFieldNumber).origin)));
  }
  return by_name;
}

// Whether a table that no feature names may belong to a feature that could not be read.
bool FeaturesAreCertain(const OriginTree& origins) {
  if (origins.damaged) return false;
  const auto found = origins.fields.find(proto::JobConfig::kFeatureFieldNumber);
  if (found == origins.fields.end()) return true;
  for (const auto& node : found->second) {
    if (node->damaged) return false;
  }
  return true;
}

// Of the tables of first-order weights: linear_defaults, where they are silent table_defaults, and
// always one wide.
TableConfig LinearDefaults(const OriginTree& origins, const proto::JobConfig& job,
                           ProblemList* problems) {
  TableConfig defaults = job.table_defaults();
  defaults.MergeFrom(job.linear_defaults());
  defaults.set_dim(1);
  const OriginTree& node = origins.At(proto::JobConfig::kLinearDefaultsFieldNumber);
  if (job.linear_defaults().has_name()) {
    problems->Add(node.At(TableConfig::kNameFieldNumber).origin,
                  "linear_defaults has no name; `table { name: ... }` changes one table");
  }
  if (job.linear_defaults().has_dim() && job.linear_defaults().dim() != 1) {
    problems->Add(node.At(TableConfig::kDimFieldNumber).origin,
                  StrCat("first-order weights have dim 1, got ", job.linear_defaults().dim()));
  }
  return defaults;
}

}  // namespace

void CompleteTables(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems) {
  if (job->table_defaults().has_name()) {
    const OriginTree& node = origins.At(proto::JobConfig::kTableDefaultsFieldNumber);
    problems->Add(node.At(TableConfig::kNameFieldNumber).origin,
                  "table_defaults has no name; `table { name: ... }` changes one table");
  }
  const std::map<std::string, int> overrides = OverridesByName(origins, *job, problems);

  const TableConfig linear_defaults = LinearDefaults(origins, *job, problems);
  google::protobuf::RepeatedPtrField<TableConfig> complete;
  std::set<std::string> used;
  std::vector<std::string> names;
  for (const proto::FeatureConfig& feature : job->feature()) {
    if (!feature.has_table() || !used.insert(feature.table()).second) continue;
    names.push_back(feature.table());
    TableConfig* table = complete.Add();
    const bool is_linear = feature.role() == proto::FeatureConfig::LINEAR;
    *table = is_linear ? linear_defaults : job->table_defaults();
    const auto found = overrides.find(feature.table());
    if (found != overrides.end()) {
      const TableConfig& written = job->table(found->second);
      table->MergeFrom(written);
      if (is_linear && written.has_dim() && written.dim() != 1) {
        const OriginTree& node = origins.At(proto::JobConfig::kTableFieldNumber, found->second);
        problems->Add(node.At(TableConfig::kDimFieldNumber).origin,
                      StrCat("table \"", feature.table(), "\" holds first-order weights: its dim ",
                             "is 1, got ", written.dim()));
      }
    }
    table->set_name(feature.table());
    if (table->optimizer().kind_case() == proto::OptimizerConfig::KIND_NOT_SET) {
      table->mutable_optimizer()->mutable_adam();
    }
    if (table->initializer().kind_case() == proto::InitializerConfig::KIND_NOT_SET) {
      table->mutable_initializer()->mutable_normal();
    }
  }
  if (FeaturesAreCertain(origins)) {
    for (const auto& [name, index] : overrides) {
      if (used.count(name) != 0) continue;
      const OriginTree& node = origins.At(proto::JobConfig::kTableFieldNumber, index);
      problems->Add(node.At(TableConfig::kNameFieldNumber).origin,
                    StrCat("no feature uses the table \"", name, "\"", DidYouMean(name, names)));
    }
  }
  job->mutable_table()->Swap(&complete);
}

}  // namespace cairn
