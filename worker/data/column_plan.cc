#include "worker/data/column_plan.h"

#include <algorithm>
#include <utility>

#include "proto/config.pb.h"
#include "worker/data/text_position.h"
#include "worker/features/field_specs.h"

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
  for (InputColumn& input : InputColumns(job))
    plan->inputs_.push_back({std::move(input.column), std::move(input.reader)});
  plan->has_group_ = !job.data().group().empty() && !label_optional;
  if (plan->has_group_) plan->inputs_.push_back({job.data().group(), "data.group"});
  for (std::size_t i = 0; i < plan->inputs_.size(); ++i)
    if (!plan->inputs_[i].column.empty()) RETURN_IF_ERROR(plan->FindInJoins(i));
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

Status ColumnPlan::FindInJoins(std::size_t input) {
  Input& wanted = inputs_[input];
  for (std::size_t j = 0; j < joins_.size(); ++j) {
    const JoinTable& table = *joins_[j].table;
    ASSIGN_OR_RETURN(const int found, Find(table.file(), table.columns(), wanted.column));
    if (found < 0) continue;
    if (wanted.join >= 0)
      return absl::InvalidArgumentError(StrCat(
          "column ", Quoted(wanted.column), " of ", wanted.reader, " is in two joined files: ",
          joins_[static_cast<std::size_t>(wanted.join)].table->file(), " and ", table.file()));
    wanted.join = static_cast<int>(j);
    wanted.in_join = static_cast<std::size_t>(found);
    joins_[j].inputs.push_back(input);
  }
  return OkStatus();
}

Result<int> ColumnPlan::BindInput(const Input& input, const std::string& file,
                                  std::span<const std::string> columns) const {
  if (input.column.empty()) return -1;
  ASSIGN_OR_RETURN(const int found, Find(file, columns, input.column));
  if (found >= 0 && input.join >= 0)
    return absl::InvalidArgumentError(StrCat(
        "column ", Quoted(input.column), " of ", input.reader, " is in ", file,
        " and in the joined file ", joins_[static_cast<std::size_t>(input.join)].table->file()));
  if (found >= 0 || input.join >= 0) return found;
  std::vector<std::string> known(columns.begin(), columns.end());
  for (const Join& join : joins_)
    known.insert(known.end(), join.table->columns().begin(), join.table->columns().end());
  return Missing(file, known, input.column, StrCat("which ", input.reader, " reads"));
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
  for (const Input& input : inputs_) {
    ASSIGN_OR_RETURN(const int found, BindInput(input, file, columns));
    binding.input.push_back(found);
  }
  return binding;
}

void ColumnPlan::Resolve(const Binding& binding, std::span<const std::string_view> fields,
                         std::span<std::string_view> texts) const {
  for (std::size_t i = 0; i < inputs_.size(); ++i)
    if (binding.input[i] >= 0) texts[i] = fields[static_cast<std::size_t>(binding.input[i])];
  for (std::size_t j = 0; j < joins_.size(); ++j) {
    const auto on = static_cast<std::size_t>(binding.join_on[j]);
    const std::span<const std::string_view> row = joins_[j].table->Find(fields[on]);
    for (const std::size_t i : joins_[j].inputs) texts[i] = row[inputs_[i].in_join];
  }
}

std::string ColumnPlan::DescribeColumn(std::size_t input) const {
  const Input& i = inputs_[input];
  std::string text = StrCat("column ", Quoted(i.column));
  if (i.join >= 0)
    StrAppend(text, " (joined from ", joins_[static_cast<std::size_t>(i.join)].table->file(), ")");
  return text;
}

std::size_t ColumnPlan::DataColumn(const Binding& binding, std::size_t input) const {
  const int join = inputs_[input].join;
  return static_cast<std::size_t>(join < 0 ? binding.input[input]
                                           : binding.join_on[static_cast<std::size_t>(join)]);
}

}  // namespace cairn::worker
