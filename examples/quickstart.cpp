// The quickstart in C++: encrypts records under a key that rotates, and moves old ones to its newest version.
//
//   quickstart_cpp DIR    creates a keystore in DIR
#include <kms/kms.hpp>

#include <iostream>
#include <string>
#include <vector>

int main(int argc, char **argv) {
    if (argc < 2) {
        std::cerr << "usage: quickstart_cpp DIR\n";
        return 2;
    }
    const std::string dir = argv[1];
    try {
        const auto options = kms::options{}.root_key_file(dir + "/root.key").create(true);
        const auto keystore = kms::keystore::open(dir + "/keys.db", options);

        const auto id =
            keystore.create_key(kms::create_key_options{}.description("orders").rotate_every(std::chrono::hours(90 * 24)));
        try {
            keystore.create_alias(id, "alias/orders");
        } catch (const kms::alias_already_exists &) {  // by an earlier run in this folder
            keystore.update_alias(id, "alias/orders");
        }

        std::vector<kms::bytes> records;
        for (int i = 0; i < 3; ++i) {
            records.push_back(keystore.encrypt("alias/orders", "card " + std::to_string(i), {{"tenant", "42"}}));
            keystore.rotate(id);  // by itself every 90 days
        }
        for (const auto &version : keystore.key_versions(id)) {
            std::cout << "version " << version.number << "  " << version.version_id
                      << (version.is_primary ? "  <- primary\n" : "\n");
        }
        for (auto &record : records) {
            if (!keystore.inspect(record).is_primary) {
                record = keystore.reencrypt(record, id, {{"tenant", "42"}});
            }
            const kms::secret_bytes text = keystore.decrypt(record, {{"tenant", "42"}});
            std::cout << kms::as_text(text) << ", now under version " << keystore.inspect(record).version_id << "\n";
        }

        try {
            static_cast<void>(keystore.decrypt(records.front(), {{"tenant", "43"}}));
            std::cerr << "FAILED: the context doesn't matter\n";
            return 1;
        } catch (const kms::authentication_failed &refused) {
            std::cout << "another tenant: " << refused.code() << "\n";
        }
    } catch (const kms::error &failure) {
        std::cerr << "FAILED: " << failure.what() << "\n";
        return 1;
    }
}
