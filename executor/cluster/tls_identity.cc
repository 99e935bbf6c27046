#include "executor/cluster/tls_identity.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <memory>
#include <vector>

namespace exo::cluster {
namespace {

template <auto kFree>
struct Free {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
template <class T, auto kFree>
using Owned = std::unique_ptr<T, Free<kFree>>;
using Bio = Owned<BIO, BIO_free_all>;
using Key = Owned<EVP_PKEY, EVP_PKEY_free>;
using Number = Owned<BIGNUM, BN_clear_free>;
using Certificate = Owned<X509, X509_free>;

Error tlsError(const char* what) {
  char reason[256] = "unknown reason";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, reason, sizeof reason);
  return makeError(ErrorCode::kIo, "TLS keys: cannot ", what, ": ", reason);
}

Result<std::vector<unsigned char>> deriveBytes(std::string_view secret, size_t size) {
  const Owned<EVP_KDF, EVP_KDF_free> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  if (!kdf) return tlsError("find HKDF");
  const Owned<EVP_KDF_CTX, EVP_KDF_CTX_free> context(EVP_KDF_CTX_new(kdf.get()));
  if (!context) return tlsError("use HKDF");
  char digest[] = "SHA256", salt[] = "exo cluster ca", info[] = "p256 scalar";
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<char*>(secret.data()), secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof salt - 1),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof info - 1), OSSL_PARAM_construct_end()};
  std::vector<unsigned char> bytes(size);
  if (EVP_KDF_derive(context.get(), bytes.data(), bytes.size(), parameters) != 1) return tlsError("derive bytes");
  return bytes;
}

Result<Number> caScalar(std::string_view secret, const EC_GROUP* group) {
  EXO_ASSIGN(const std::vector<unsigned char> bytes, deriveBytes(secret, 48));
  const Owned<BN_CTX, BN_CTX_free> scratch(BN_CTX_new());
  const Number wide(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
  const Number bound(BN_dup(EC_GROUP_get0_order(group)));
  Number scalar(BN_new());
  if (!scratch || !wide || !bound || !scalar) return tlsError("allocate numbers");
  if (BN_sub_word(bound.get(), 1) != 1 || BN_mod(scalar.get(), wide.get(), bound.get(), scratch.get()) != 1 ||
      BN_add_word(scalar.get(), 1) != 1) {
    return tlsError("compute the CA scalar");
  }
  return scalar;
}

Result<std::vector<unsigned char>> publicPoint(const EC_GROUP* group, const BIGNUM* scalar) {
  const Owned<EC_POINT, EC_POINT_free> point(EC_POINT_new(group));
  if (!point || EC_POINT_mul(group, point.get(), scalar, nullptr, nullptr, nullptr) != 1) {
    return tlsError("compute the CA's public key");
  }
  std::vector<unsigned char> bytes(65);
  if (EC_POINT_point2oct(group, point.get(), POINT_CONVERSION_UNCOMPRESSED, bytes.data(), bytes.size(), nullptr) != bytes.size()) {
    return tlsError("encode the CA's public key");
  }
  return bytes;
}

Result<Key> caKey(std::string_view secret) {
  const Owned<EC_GROUP, EC_GROUP_free> group(EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1));
  if (!group) return tlsError("find P-256");
  EXO_ASSIGN(const Number scalar, caScalar(secret, group.get()));
  EXO_ASSIGN(const std::vector<unsigned char> point, publicPoint(group.get(), scalar.get()));
  const Owned<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free> builder(OSSL_PARAM_BLD_new());
  if (!builder || OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_PRIV_KEY, scalar.get()) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) != 1) {
    return tlsError("describe the CA key");
  }
  const Owned<OSSL_PARAM, OSSL_PARAM_free> parameters(OSSL_PARAM_BLD_to_param(builder.get()));
  const Owned<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  if (!parameters || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEYPAIR, parameters.get()) != 1) {
    return tlsError("make the CA key");
  }
  return Key(key);
}

Status addExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION, X509_EXTENSION_free> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1) return tlsError("add a certificate extension");
  return {};
}

Status setSerial(X509* certificate, uint64_t serial) {
  if (ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial) != 1) return tlsError("set the serial number");
  return {};
}

/// Version, names and validity; no key, no signature.
Result<Certificate> blankCertificate(const char* common_name) {
  Certificate certificate(X509_new());
  if (!certificate || X509_set_version(certificate.get(), X509_VERSION_3) != 1) return tlsError("make a certificate");
  const auto* name = reinterpret_cast<const unsigned char*>(common_name);
  if (X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC, name, -1, -1, 0) != 1 ||
      ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate.get()), "20000101000000Z") != 1 ||
      ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate.get()), "99991231235959Z") != 1) {
    return tlsError("fill a certificate");
  }
  return certificate;
}

Result<Certificate> caCertificate(EVP_PKEY* key) {
  EXO_ASSIGN(Certificate certificate, blankCertificate("exo cluster"));
  EXO_TRY(setSerial(certificate.get(), 1));
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get())) != 1 ||
      X509_set_pubkey(certificate.get(), key) != 1) {
    return tlsError("fill the CA certificate");
  }
  EXO_TRY(addExtension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  EXO_TRY(addExtension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign"));
  EXO_TRY(addExtension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash"));
  if (X509_sign(certificate.get(), key, EVP_sha256()) == 0) return tlsError("sign the CA certificate");
  return certificate;
}

Result<Certificate> leafCertificate(EVP_PKEY* key, X509* ca, EVP_PKEY* ca_key) {
  EXO_ASSIGN(Certificate certificate, blankCertificate(kTlsName));
  uint64_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) return tlsError("get randomness");
  EXO_TRY(setSerial(certificate.get(), serial | 2));
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(ca)) != 1 || X509_set_pubkey(certificate.get(), key) != 1) {
    return tlsError("fill the node's certificate");
  }
  const std::string alternative_name = std::string("DNS:") + kTlsName;
  EXO_TRY(addExtension(certificate.get(), ca, NID_basic_constraints, "critical,CA:FALSE"));
  EXO_TRY(addExtension(certificate.get(), ca, NID_key_usage, "critical,digitalSignature"));
  EXO_TRY(addExtension(certificate.get(), ca, NID_ext_key_usage, "serverAuth,clientAuth"));
  EXO_TRY(addExtension(certificate.get(), ca, NID_subject_alt_name, alternative_name.c_str()));
  EXO_TRY(addExtension(certificate.get(), ca, NID_authority_key_identifier, "keyid"));
  if (X509_sign(certificate.get(), ca_key, EVP_sha256()) == 0) return tlsError("sign the node's certificate");
  return certificate;
}

std::string contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

Result<std::string> pem(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1) return tlsError("write a certificate");
  return contents(bio.get());
}

Result<std::string> pem(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_secmem()));
  if (!bio || PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return tlsError("write a key");
  }
  return contents(bio.get());
}

}  // namespace

Result<TlsIdentity> makeTlsIdentity(std::string_view secret) {
  ERR_clear_error();
  EXO_ASSIGN(const Key ca_key, caKey(secret));
  EXO_ASSIGN(const Certificate ca, caCertificate(ca_key.get()));
  const Key key(EVP_EC_gen("P-256"));
  if (!key) return tlsError("make the node's key");
  EXO_ASSIGN(const Certificate leaf, leafCertificate(key.get(), ca.get(), ca_key.get()));
  TlsIdentity identity;
  EXO_ASSIGN(identity.ca_certificate, pem(ca.get()));
  EXO_ASSIGN(identity.certificate, pem(leaf.get()));
  EXO_ASSIGN(identity.private_key, pem(key.get()));
  return identity;
}

}  // namespace exo::cluster
