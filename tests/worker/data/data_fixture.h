// Files in a scratch folder and jobs over them, for the tests of worker/data.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "google/protobuf/text_format.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "worker/data/dataset.h"

namespace cairn::worker {

class DataFixture : public testing::Test {
 protected:
  DataFixture() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cairn_data_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~DataFixture() override { std::filesystem::remove_all(folder_); }

  std::string Path(std::string_view name) const { return StrCat(folder_, "/", name); }

  std::string Write(std::string_view name, std::string_view content) const {
    std::ofstream(Path(name), std::ios::binary) << content;
    return Path(name);
  }

  // One gzip member.
  static std::string Gzip(std::string_view content) {
    z_stream stream{};
    EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(deflateBound(&stream, content.size()) + 64, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
    stream.avail_in = static_cast<uInt>(content.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
  }

  // An effective job: `text` with a table for each feature's, columns and tables filled in.
  static proto::JobConfig Job(const std::string& text) {
    proto::JobConfig job;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &job)) << text;
    for (proto::FeatureConfig& feature : *job.mutable_feature()) {
      if (!feature.has_column()) feature.set_column(feature.name());
      if (!feature.has_table()) feature.set_table(feature.name());
      bool known = IsNumeric(feature);
      for (const proto::TableConfig& table : job.table())
        known = known || table.name() == feature.table();
      if (!known) job.add_table()->set_name(feature.table());
    }
    return job;
  }

  // A job that reads `file` as all splits, unshuffled, with features a (categorical) and b
  // (numeric); `data` is further text of the data message, `more` of the job.
  static proto::JobConfig SmallJob(const std::string& file, const std::string& data = "",
                                   const std::string& more = "") {
    return Job(StrCat("data { train: '", file, "' valid: '", file, "' test: '", file,
                      "' shuffle: false ", data,
                      "} feature { name: 'a' } feature { name: 'b' type: NUMERIC } ", more));
  }

  static std::unique_ptr<Dataset> MakeOrDie(const proto::JobConfig& job,
                                            proto::DataSplit split = proto::TRAIN) {
    auto dataset = Dataset::Make(job, split);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return dataset.ok() ? *std::move(dataset) : nullptr;
  }

  // What making the data set and reading all of it says; OK if nothing is wrong.
  static Status ReadAll(const proto::JobConfig& job, proto::DataSplit split = proto::TRAIN) {
    ASSIGN_OR_RETURN(std::unique_ptr<Dataset> dataset, Dataset::Make(job, split));
    Batch batch;
    std::uint64_t bad = 0;
    for (std::uint64_t window = 0;; ++window) {
      ASSIGN_OR_RETURN(const WindowInfo info, dataset->OpenWindow(0, window));
      RETURN_IF_ERROR(dataset->ReadBatch(0, info.rows, &batch, &bad));
      if (info.last) return OkStatus();
    }
  }

  static std::string Message(const Status& status) {
    return {status.message().data(), status.message().size()};
  }

  // The keys of a categorical field, row by row.
  static std::vector<std::uint64_t> Keys(const Batch& batch, std::size_t field,
                                         std::size_t table = 0) {
    std::vector<std::uint64_t> keys;
    for (const std::uint32_t i : batch.fields[field].index)
      keys.push_back(batch.unique_keys[table][i]);
    return keys;
  }

  std::string folder_;
};

}  // namespace cairn::worker
