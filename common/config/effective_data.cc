#include <algorithm>
#include <set>
#include <vector>

#include "common/config/effective_parts.h"
#include "common/config/suggest.h"
#include "common/config/text_expansion.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using proto::CsvConfig;
using proto::DataConfig;
using proto::JoinConfig;

class Data {
 public:
  Data(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems)
      : node_(origins.At(proto::JobConfig::kDataFieldNumber)),
        data_(job->mutable_data()),
        problems_(problems) {}

  void Complete() {
    if (data_->train_size() == 0 && !node_.damaged) {
      problems_->Add(node_.origin, "data.train is required: a file name or glob");
    }
    if (data_->label().empty()) Problem(DataConfig::kLabelFieldNumber, "label must not be empty");
    ExpandFiles(DataConfig::kTrainFieldNumber, data_->mutable_train());
    ExpandFiles(DataConfig::kValidFieldNumber, data_->mutable_valid());
    ExpandFiles(DataConfig::kTestFieldNumber, data_->mutable_test());
    if (data_->holdout() > 0) CompleteHoldout();
    for (int i = 0; i < data_->join_size(); ++i) {
      JoinConfig* join = data_->mutable_join(i);
      const OriginTree& node = node_.At(DataConfig::kJoinFieldNumber, i);
      if (join->has_file()) {
        ExpandFile(node.At(JoinConfig::kFileFieldNumber).origin, join->mutable_file());
      }
      if (!join->has_on()) join->set_on(join->key());
    }
    if (data_->format() == "csv") CompleteCsv(data_->mutable_csv());
    if (const std::string problem = ProblemOfColumn(*data_, data_->group()); !problem.empty()) {
      Problem(DataConfig::kGroupFieldNumber, StrCat("data.group: ", problem));
    }
  }

 private:
  void Problem(int field, std::string message) {
    problems_->Add(node_.At(field).origin, std::move(message));
  }

  // The held-out rows are the validation set, so its files are those of training.
  void CompleteHoldout() {
    const std::vector<std::string> train(data_->train().begin(), data_->train().end());
    const std::vector<std::string> valid(data_->valid().begin(), data_->valid().end());
    if (!valid.empty() && valid != train) {
      Problem(DataConfig::kHoldoutFieldNumber,
              "data.holdout takes the place of data.valid; leave one of them out");
    }
    *data_->mutable_valid() = data_->train();
  }

  void ExpandFiles(int field, google::protobuf::RepeatedPtrField<std::string>* files) {
    for (int i = 0; i < files->size(); ++i) {
      ExpandFile(node_.At(field, i).origin, files->Mutable(i));
    }
  }

  void ExpandFile(const Origin& origin, std::string* file) {
    if (file->empty()) return problems_->Add(origin, "a file name must not be empty");
    Result<std::string> expanded = ExpandEnvironment(*file);
    if (!expanded.ok()) return problems_->Add(origin, std::string(expanded.status().message()));
    *file = *std::move(expanded);
  }

  void CompleteCsv(CsvConfig* csv) {
    const OriginTree& node = node_.At(DataConfig::kCsvFieldNumber);
    const auto problem = [&](int field, std::string message) {
      problems_->Add(node.At(field).origin, std::move(message));
    };
    // A shell hands over \t as two characters.
    if (csv->delimiter() == "\\t") csv->set_delimiter("\t");
    const std::string& delimiter = csv->delimiter();
    if (delimiter.size() != 1 || delimiter == "\n" || delimiter == "\r") {
      problem(CsvConfig::kDelimiterFieldNumber,
              "the delimiter is one character that does not end a line, such as \",\" or \"\\t\"");
    }
    if (csv->quote().size() > 1) {
      problem(CsvConfig::kQuoteFieldNumber, "the quote is one character, or \"\" for no quoting");
    } else if (csv->quote() == delimiter) {
      problem(csv->has_quote() ? CsvConfig::kQuoteFieldNumber : CsvConfig::kDelimiterFieldNumber,
              "delimiter and quote must differ");
    }
    CheckColumns(*csv, node);
  }

  void CheckColumns(const CsvConfig& csv, const OriginTree& node) {
    const int field = CsvConfig::kColumnFieldNumber;
    if (csv.header() && csv.column_size() > 0) {
      problems_->Add(node.At(field).origin,
                     "columns are named by the header of the files; for files without one, "
                     "set header: false");
    } else if (!csv.header() && csv.column_size() == 0 && !node.damaged) {
      problems_->Add(node.At(CsvConfig::kHeaderFieldNumber).origin,
                     "without a header, data.csv.column must name the columns");
    }
    std::set<std::string> names;
    for (int i = 0; i < csv.column_size(); ++i) {
      if (!names.insert(csv.column(i)).second) {
        problems_->Add(node.At(field, i).origin,
                       StrCat("there is another column \"", csv.column(i), "\""));
      }
    }
    if (csv.header() || names.empty() || names.count(data_->label()) != 0) return;
    const std::vector<std::string> listed(csv.column().begin(), csv.column().end());
    Problem(DataConfig::kLabelFieldNumber,
            StrCat("the label \"", data_->label(), "\" is none of the ", names.size(),
                   " columns of data.csv.column", DidYouMean(data_->label(), listed)));
  }

  const OriginTree& node_;
  DataConfig* const data_;
  ProblemList* const problems_;
};

}  // namespace

std::string ProblemOfColumn(const DataConfig& data, const std::string& column) {
  if (column.empty()) return "";
  if (column == data.label()) return StrCat("column \"", column, "\" is the label");
  const std::vector<std::string> listed(data.csv().column().begin(), data.csv().column().end());
  const bool is_listed = std::find(listed.begin(), listed.end(), column) != listed.end();
  if (listed.empty() || data.join_size() > 0 || is_listed) return "";
  const std::set<std::string> known(listed.begin(), listed.end());
  return StrCat("\"", column, "\" is none of the ", known.size(), " columns of data.csv.column",
                DidYouMean(column, listed));
}

void CompleteData(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems) {
  if (job->has_data()) Data(origins, job, problems).Complete();
}

}  // namespace cairn
