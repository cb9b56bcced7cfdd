#include "worker/data/column_plan.h"

#include <algorithm>

#include "proto/config.pb.h"
#include "worker/data/text_position.h"

namespace cairn::worker {
namespace {

// Index of `name`, or -1; InvalidArgument if it is there twice.
Result<int> Find(const std::string& file, std::span<const std::string> columns,
                 const std::string& name) {
  const auto found = std::ranges::find(columns, name);
  if (found == columns.end()) return -1;
  if (std::find(found + 1, columns.end(), name) != columns.end())
    return absl::InvalidArgumentError(StrCat(file, " has column ", Quoted(name), " twice"));
  return static_cast<int>(found - columns.begin());
}

Status Missing(const std::string& file, std::span<const std::string> columns,
               const std::string& name, std::string_view user) {
  return absl::InvalidArgumentError(
      StrCat(file, " has no column ", Quoted(name), ", ", user, NamesHint(name, columns)));
}

}  // namespace

Result<std::unique_ptr<ColumnPlan>> ColumnPlan::Make(const proto::JobConfig& job,
                                                     const ReaderEntry& reader,
                                                     bool label_optional) {
  std::unique_ptr<ColumnPlan> plan(new ColumnPlan());
  plan->label_ = job.data().label();
  plan->label_optional_ = label_optional;
  for (int j = 0; j < job.data().join_size(); ++j) RETURN_IF_ERROR(plan->AddJoin(job, reader, j));
  for (const proto::FeatureConfig& feature : job.feature()) {
    plan->features_.push_back(
        {feature.name(), feature.column().empty() ? feature.name() : feature.column()});
    RETURN_IF_ERROR(plan->FindInJoins(plan->features_.size() - 1));
  }
  return plan;
}

Status ColumnPlan::AddJoin(const proto::JobConfig& job, const ReaderEntry& reader, int index) {
  const proto::JoinConfig& config = job.data().join(index);
  Join join;
  ASSIGN_OR_RETURN(join.table, JoinTable::Load(job.data(), reader, config.file(), config.key()),
                   "data.join");
  join.on = config.on().empty() ? config.key() : config.on();
  joins_.push_back(std::move(join));
  return OkStatus();
}

Status ColumnPlan::FindInJoins(std::size_t feature) {
  Feature& wanted = features_[feature];
  for (std::size_t j = 0; j < joins_.size(); ++j) {
    const JoinTable& table = *joins_[j].table;
    ASSIGN_OR_RETURN(const int found, Find(table.file(), table.columns(), wanted.column));
    if (found < 0) continue;
    if (wanted.join >= 0)
      return absl::InvalidArgumentError(StrCat(
          "column ", Quoted(wanted.column), " of feature ", Quoted(wanted.name),
          " is in two joined files: ", joins_[static_cast<std::size_t>(wanted.join)].table->file(),
          " and ", table.file()));
    wanted.join = static_cast<int>(j);
    wanted.in_join = static_cast<std::size_t>(found);
    joins_[j].features.push_back(feature);
  }
  return OkStatus();
}

Result<int> ColumnPlan::BindFeature(const Feature& feature, const std::string& file,
                                    std::span<const std::string> columns) const {
  ASSIGN_OR_RETURN(const int found, Find(file, columns, feature.column));
  if (found >= 0 && feature.join >= 0)
    return absl::InvalidArgumentError(StrCat(
        "column ", Quoted(feature.column), " of feature ", Quoted(feature.name), " is in ", file,
        " and in the joined file ", joins_[static_cast<std::size_t>(feature.join)].table->file()));
  if (found >= 0 || feature.join >= 0) return found;
  std::vector<std::string> known(columns.begin(), columns.end());
  for (const Join& join : joins_)
    known.insert(known.end(), join.table->columns().begin(), join.table->columns().end());
  return Missing(file, known, feature.column,
                 StrCat("which feature ", Quoted(feature.name), " reads"));
}

Result<ColumnPlan::Binding> ColumnPlan::Bind(const std::string& file,
                                             std::span<const std::string> columns) const {
  Binding binding;
  binding.columns = columns.size();
  ASSIGN_OR_RETURN(binding.label, Find(file, columns, label_));
  if (binding.label < 0 && !label_optional_)
    return Missing(file, columns, label_, "the label (data.label)");
  for (const Join& join : joins_) {
    ASSIGN_OR_RETURN(const int on, Find(file, columns, join.on));
    if (on < 0)
      return Missing(file, columns, join.on, StrCat("by which ", join.table->file(), " is joined"));
    binding.join_on.push_back(on);
  }
  for (const Feature& feature : features_) {
    ASSIGN_OR_RETURN(const int found, BindFeature(feature, file, columns));
    binding.feature.push_back(found);
  }
  return binding;
}

void ColumnPlan::Resolve(const Binding& binding, std::span<const std::string_view> fields,
                         std::span<std::string_view> texts) const {
  for (std::size_t f = 0; f < features_.size(); ++f)
    if (binding.feature[f] >= 0) texts[f] = fields[static_cast<std::size_t>(binding.feature[f])];
  for (std::size_t j = 0; j < joins_.size(); ++j) {
    const auto on = static_cast<std::size_t>(binding.join_on[j]);
    const std::span<const std::string_view> row = joins_[j].table->Find(fields[on]);
    for (const std::size_t f : joins_[j].features) texts[f] = row[features_[f].in_join];
  }
}

std::string ColumnPlan::DescribeColumn(std::size_t feature) const {
  const Feature& f = features_[feature];
  std::string text = StrCat("column ", Quoted(f.column));
  if (f.join >= 0)
    StrAppend(text, " (joined from ", joins_[static_cast<std::size_t>(f.join)].table->file(), ")");
  return text;
}

std::size_t ColumnPlan::DataColumn(const Binding& binding, std::size_t feature) const {
  const int join = features_[feature].join;
  return static_cast<std::size_t>(join < 0 ? binding.feature[feature]
                                           : binding.join_on[static_cast<std::size_t>(join)]);
}

}  // namespace cairn::worker
