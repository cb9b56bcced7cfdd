// Where the texts that a job needs come from: columns of the data or of a joined file.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/data/join_table.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// A record's fields -> label and the texts of the row: those of InputColumns
// (features/field_specs.h) and, behind them, data.group's if there is one. Immutable after Make.
class ColumnPlan {
 public:
  // Indices of the data's columns that the plan reads, for files with one list of columns.
  struct Binding {
    std::size_t columns = 0;   // of a record
    int label = -1;            // -1: none
    std::vector<int> input;    // [inputs], -1: from a join, or not read
    std::vector<int> join_on;  // [joins]
  };

  // Loads the joined files. InvalidArgument: a join lacks its key column, a joined column is also
  // one of another join. With label_optional (rows without labels) there are no groups.
  static Result<std::unique_ptr<ColumnPlan>> Make(const proto::JobConfig& job,
                                                  const ReaderEntry& reader, bool label_optional);

  // Finds the columns in `file`. InvalidArgument names the file, a missing or doubled column and
  // what needs it, with a suggestion.
  Result<Binding> Bind(const std::string& file, std::span<const std::string> columns) const;

  // Fills texts[inputs()] from the fields of a record.
  void Resolve(const Binding& binding, std::span<const std::string_view> fields,
               std::span<std::string_view> texts) const;

  std::size_t inputs() const { return inputs_.size(); }
  bool has_group() const { return has_group_; }
  // Column of an input; with its file if it is a joined one.
  std::string DescribeColumn(std::size_t input) const;
  // The data's column that decides an input's text: its own, or the one that its join looks up.
  std::size_t DataColumn(const Binding& binding, std::size_t input) const;

 private:
  struct Input {
    std::string column;       // empty: not read
    std::string reader;       // for messages
    int join = -1;            // which has the column; -1: the data must
    std::size_t in_join = 0;  // index of the column there
  };
  struct Join {
    std::unique_ptr<JoinTable> table;
    std::string on;
    std::vector<std::size_t> inputs;  // that it serves
  };
  ColumnPlan() = default;
  Status AddJoin(const proto::JobConfig& job, const ReaderEntry& reader, int index);
  Status FindInJoins(std::size_t input);
  Result<int> BindInput(const Input& input, const std::string& file,
                        std::span<const std::string> columns) const;

  std::string label_;
  bool label_optional_ = false;
  bool has_group_ = false;
  std::vector<Input> inputs_;
  std::vector<Join> joins_;
};

}  // namespace cairn::worker
