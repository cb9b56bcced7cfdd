#include "worker/data/dataset.h"

#include <glog/logging.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "common/math/hash.h"
#include "common/math/rng.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "worker/data/byte_source.h"
#include "worker/data/column_plan.h"
#include "worker/data/input_files.h"
#include "worker/data/readers.h"
#include "worker/data/row_windows.h"
#include "worker/data/text_position.h"
#include "worker/features/feature_parser.h"
#include "worker/features/vocabulary.h"

namespace cairn::worker {
namespace {

constexpr std::uint64_t kShuffleStream = 0x73687566666c65ull;  // "shuffle"
constexpr std::uint64_t kLoggedBadRows = 10;
constexpr std::uint64_t kPrefetchRows = 4;     // whose bytes are fetched ahead
constexpr std::uint64_t kPrefetchPlaces = 16;  // whose place in memory is fetched ahead
constexpr std::size_t kPrefetchBytes = 384;
constexpr std::size_t kCacheLine = 64;

// The job's file names of a split, and what messages call them.
std::pair<std::vector<std::string>, std::string_view> PatternsOf(const proto::DataConfig& data,
                                                                 proto::DataSplit split) {
  switch (split) {
    case proto::VALID:
      return {{data.valid().begin(), data.valid().end()}, "data.valid"};
    case proto::TEST:
      return {{data.test().begin(), data.test().end()}, "data.test"};
    case proto::TRAIN:
      break;
  }
  return {{data.train().begin(), data.train().end()}, "data.train"};
}

RowSelection SelectionOf(const proto::DataConfig& data, proto::DataSplit split) {
  if (split == proto::TEST) return {};
  return {.share = data.holdout(), .others = split == proto::TRAIN};
}

// 0, 1, 0.0 or 1.0; else -1.
float ParseLabel(std::string_view text) {
  if (text == "0" || text == "0.0") return 0;
  if (text == "1" || text == "1.0") return 1;
  return -1;
}

}  // namespace

class Dataset::Impl {
 public:
  Impl(const proto::JobConfig& job, bool shuffle, std::shared_ptr<const Vocabulary> vocabulary)
      : seed_(job.seed()),
        shuffle_(shuffle),
        skip_bad_rows_(job.data().bad_row() == proto::DataConfig::SKIP),
        parser_(job, std::move(vocabulary)) {}

  Status Open(const proto::JobConfig& job, proto::DataSplit split, const DatasetOptions& options);
  bool has_label() const { return has_label_; }
  Result<WindowInfo> OpenWindow(std::uint64_t epoch, std::uint64_t window);
  Status ReadBatch(std::uint64_t begin, std::uint64_t end, Batch* batch, std::uint64_t* bad_rows);

 private:
  void Shuffle(std::uint64_t epoch, std::uint64_t window);
  std::uint64_t RowAt(std::uint64_t i) const { return shuffle_ ? order_[i] : i; }
  std::size_t PartOf(std::uint64_t row) const;
  void Prefetch(std::uint64_t row) const;
  // Parses one row into the batch under construction; label into *label. The error of a bad row.
  bool ParseRow(std::uint64_t row, std::size_t part, float* label);
  Status BadRow(std::uint64_t row, std::size_t part);

  const std::uint64_t seed_;
  const bool shuffle_;
  const bool skip_bad_rows_;
  bool has_label_ = false;
  std::unique_ptr<RecordSplitter> splitter_;
  std::unique_ptr<ColumnPlan> plan_;
  std::unique_ptr<RowWindows> windows_;
  FeatureParser parser_;
  std::vector<ColumnPlan::Binding> bindings_;  // of the open window's parts
  std::vector<std::uint32_t> order_;           // with shuffle_: row of each place of the visit
  std::uint64_t open_rows_ = 0;
  std::uint64_t logged_bad_rows_ = 0;
  std::vector<std::string_view> fields_;  // scratch: of one record
  std::vector<std::string_view> texts_;   // scratch: of one row's inputs
};

Status Dataset::Impl::Open(const proto::JobConfig& job, proto::DataSplit split,
                           const DatasetOptions& options) {
  const auto [patterns, setting] = PatternsOf(job.data(), split);
  if (patterns.empty()) return absl::InvalidArgumentError(StrCat(setting, " names no file"));
  ASSIGN_OR_RETURN(const ReaderEntry* reader, FindReader(job.data().format()));
  ASSIGN_OR_RETURN(std::vector<std::string> files, ExpandFiles(patterns, setting));
  for (const std::string& file : files) RETURN_IF_ERROR(CheckInputFile(file), setting);
  ASSIGN_OR_RETURN(splitter_, reader->make_splitter(job.data()));
  ASSIGN_OR_RETURN(plan_, ColumnPlan::Make(job, *reader, options.label_optional));
  ASSIGN_OR_RETURN(windows_, RowWindows::Make(job.data(), reader->open, files,
                                              /*each_file_has_rows=*/split == proto::TRAIN,
                                              SelectionOf(job.data(), split)));
  if (!windows_->has_rows() && !options.label_optional)
    return absl::InvalidArgumentError(StrCat(
        files.front(), files.size() == 1 ? " has no rows" : " and the files after it have no rows",
        " (", setting, job.data().holdout() > 0 ? ", with data.holdout)" : ")"));
  ASSIGN_OR_RETURN(const ColumnPlan::Binding binding,
                   plan_->Bind(files.front(), windows_->first_columns()));
  has_label_ = binding.label >= 0;
  texts_.resize(plan_->inputs());
  return OkStatus();
}

Result<WindowInfo> Dataset::Impl::OpenWindow(std::uint64_t epoch, std::uint64_t window) {
  open_rows_ = 0;
  RETURN_IF_ERROR(windows_->Load(window));
  bindings_.clear();
  for (const WindowPart& part : windows_->parts()) {
    ASSIGN_OR_RETURN(ColumnPlan::Binding binding, plan_->Bind(part.file, part.columns));
    bindings_.push_back(std::move(binding));
  }
  open_rows_ = windows_->rows();
  if (shuffle_) Shuffle(epoch, window);
  return WindowInfo{open_rows_, windows_->last()};
}

// Fisher-Yates, from the front: each order has the same probability.
void Dataset::Impl::Shuffle(std::uint64_t epoch, std::uint64_t window) {
  order_.resize(open_rows_);
  std::iota(order_.begin(), order_.end(), 0u);
  Rng rng(seed_, Mix64(Mix64(epoch + kShuffleStream) + window));
  for (std::uint64_t i = 0; i + 1 < open_rows_; ++i)
    std::swap(order_[i], order_[i + rng.NextBelow(open_rows_ - i)]);
}

std::size_t Dataset::Impl::PartOf(std::uint64_t row) const {
  const std::vector<WindowPart>& parts = windows_->parts();
  if (parts.size() == 1) return 0;
  const auto after = std::ranges::upper_bound(parts, row, {}, &WindowPart::first_row);
  return static_cast<std::size_t>(after - parts.begin()) - 1;
}

void Dataset::Impl::Prefetch(std::uint64_t row) const {
  const std::string_view bytes = windows_->Row(row);
  const std::size_t size = std::min(bytes.size(), kPrefetchBytes);
  for (std::size_t at = 0; at < size; at += kCacheLine) __builtin_prefetch(bytes.data() + at);
}

bool Dataset::Impl::ParseRow(std::uint64_t row, std::size_t part, float* label) {
  const ColumnPlan::Binding& binding = bindings_[part];
  fields_.resize(binding.columns);
  if (!splitter_->Split(windows_->Row(row), fields_)) return false;
  *label = 0;
  if (binding.label >= 0) {
    *label = ParseLabel(fields_[static_cast<std::size_t>(binding.label)]);
    if (*label < 0) return false;
  }
  plan_->Resolve(binding, fields_, texts_);
  return parser_.AddRow(std::span(texts_).first(parser_.inputs()));
}

// Takes the path of ParseRow once more, to say what is wrong.
Status Dataset::Impl::BadRow(std::uint64_t row, std::size_t part) {
  const ColumnPlan::Binding& binding = bindings_[part];
  const std::string_view record = windows_->Row(row);
  std::size_t offset = 0;
  std::string message;
  if (!splitter_->Split(record, fields_)) {
    const SplitError error = splitter_->Explain(record, fields_.size());
    offset = error.offset;
    message = error.message;
  } else if (const std::string_view label =
                 binding.label < 0 ? "0" : fields_[static_cast<std::size_t>(binding.label)];
             ParseLabel(label) < 0) {
    offset = splitter_->FieldOffset(record, static_cast<std::size_t>(binding.label));
    const std::string& name =
        windows_->parts()[part].columns[static_cast<std::size_t>(binding.label)];
    message = StrCat("label column ", Quoted(name), ": ", Quoted(label), " is neither 0 nor 1");
  } else {
    const std::size_t input = parser_.bad_input();
    offset = splitter_->FieldOffset(record, plan_->DataColumn(binding, input));
    message = StrCat(plan_->DescribeColumn(input), ": ", Quoted(parser_.bad_text()), " ",
                     parser_.bad_reason());
  }
  return absl::InvalidArgumentError(StrCat(
      Position(windows_->parts()[part].file, windows_->Line(row), record, offset), ": ", message));
}

Status Dataset::Impl::ReadBatch(std::uint64_t begin, std::uint64_t end, Batch* batch,
                                std::uint64_t* bad_rows) {
  end = std::min(end, open_rows_);
  begin = std::min(begin, end);
  *bad_rows = 0;
  batch->origin = {};
  batch->labels.clear();
  batch->groups.clear();
  parser_.Begin(end - begin, batch);
  if (begin < end) {
    const std::uint64_t first = RowAt(begin);
    batch->origin.file = windows_->parts()[PartOf(first)].file;
    batch->origin.first_line = windows_->Line(first);
  }
  for (std::uint64_t i = begin; i < end; ++i) {
    if (i + kPrefetchPlaces < end) windows_->PrefetchPlace(RowAt(i + kPrefetchPlaces));
    if (i + kPrefetchRows < end) Prefetch(RowAt(i + kPrefetchRows));
    const std::uint64_t row = RowAt(i);
    const std::size_t part = PartOf(row);
    float label = 0;
    if (ParseRow(row, part, &label)) [[likely]] {
      batch->labels.push_back(label);
      if (plan_->has_group()) batch->groups.push_back(GroupOf(texts_.back()));
      continue;
    }
    Status error = BadRow(row, part);
    if (!skip_bad_rows_) {
      batch->labels.clear();
      batch->groups.clear();
      parser_.Begin(0, batch);
      parser_.Finish();
      return error;
    }
    ++*bad_rows;
    if (++logged_bad_rows_ <= kLoggedBadRows)
      LOG(WARNING) << "left out: " << error.message()
                   << (logged_bad_rows_ == kLoggedBadRows ? " (more are only counted)" : "");
  }
  parser_.Finish();
  return OkStatus();
}

Dataset::Dataset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Dataset::~Dataset() = default;

Result<std::unique_ptr<Dataset>> Dataset::Make(const proto::JobConfig& job, proto::DataSplit split,
                                               DatasetOptions options) {
  const bool shuffle = job.data().shuffle() && split == proto::TRAIN;
  auto impl = std::make_unique<Impl>(job, shuffle, options.vocabulary);
  RETURN_IF_ERROR(impl->Open(job, split, options));
  return std::unique_ptr<Dataset>(new Dataset(std::move(impl)));
}

bool Dataset::has_label() const { return impl_->has_label(); }

Result<WindowInfo> Dataset::OpenWindow(std::uint64_t epoch, std::uint64_t window) {
  return impl_->OpenWindow(epoch, window);
}

Status Dataset::ReadBatch(std::uint64_t begin, std::uint64_t end, Batch* batch,
                          std::uint64_t* bad_rows) {
  return impl_->ReadBatch(begin, end, batch, bad_rows);
}

}  // namespace cairn::worker
