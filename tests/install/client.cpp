// A C++ program outside of the source tree.
#include <kms/kms.hpp>

#include <iostream>

int main() {
    const auto keystore = kms::keystore::open("memory:", kms::options{}.root_key(kms::bytes(32, 1)));
    const auto text = keystore.decrypt(keystore.encrypt(keystore.create_key(), "hello"));
    std::cout << "libkms " << kms::version() << "\n";
    return kms::as_text(text) == "hello" ? 0 : 1;
}
