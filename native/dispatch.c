/* Detects CPU features, lists the implementations, and chooses the active one of each family. The
 * cached features and choices are the only mutable global data of the core. */
#include <stdatomic.h>
#include <string.h>

#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__) && defined(_WIN32)
#include <windows.h>
#elif defined(__aarch64__) && (defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__))
#include <sys/auxv.h>
#ifndef HWCAP_AES
#define HWCAP_AES (1u << 3)
#endif
#endif

/* ---- features ---------------------------------------------------------------------------- */

static const char *const feature_names[] = {"aesni", "avx2", "avx512", "vaes",
                                            "avx512vbmi", "avx512ifma", "arm-aes"};
enum { FEATURES = sizeof feature_names / sizeof feature_names[0] };

#if defined(__x86_64__)

/* XCR0: the registers that the operating system saves (XMM and YMM; opmask and ZMM). */
#define XCR0_YMM 0x06u
#define XCR0_ZMM 0xe6u

static uint32_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int all(uint32_t value, uint32_t bits) { return (value & bits) == bits; }

/* The aesni kernels use SSSE3 and SSE4.1 too. */
static uint32_t detect(void)
{
    const uint32_t aes = bit_AES | bit_SSSE3 | bit_SSE4_1;
    const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    uint32_t features = 0, a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    if (all(c, aes))
        features |= SA_CPU_AESNI;
    if (!all(c, bit_OSXSAVE | bit_AVX))
        return features;
    const uint32_t saved = saved_registers();
    if (!all(saved, XCR0_YMM) || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return features;
    if (all(b, bit_AVX2))
        features |= SA_CPU_AVX2;
    if (all(c, bit_VAES))
        features |= SA_CPU_VAES;
    if (!all(b, avx512) || !all(saved, XCR0_ZMM))
        return features;
    features |= SA_CPU_AVX512;
    if (all(c, bit_AVX512VBMI | bit_AVX512VBMI2))
        features |= SA_CPU_VBMI;
    if (all(b, bit_AVX512IFMA))
        features |= SA_CPU_IFMA;
    return features;
}

#elif defined(__aarch64__)

static int has_aes(void)
{
#if defined(__APPLE__)
    int present = 1; /* stays if macOS is too old for the question: all these chips have it */
    size_t size = sizeof present;
    sysctlbyname("hw.optional.arm.FEAT_AES", &present, &size, NULL, 0);
    return present;
#elif defined(_WIN32)
    return IsProcessorFeaturePresent(PF_ARM_V8_CRYPTO_INSTRUCTIONS_AVAILABLE);
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#elif defined(__FreeBSD__) || defined(__OpenBSD__)
    unsigned long capabilities = 0;
    elf_aux_info(AT_HWCAP, &capabilities, sizeof capabilities);
    return (capabilities & HWCAP_AES) != 0;
#elif defined(__ARM_FEATURE_AES) || defined(__ARM_FEATURE_CRYPTO)
    return 1; /* the compiler may use them anywhere */
#else
    return 0;
#endif
}

static uint32_t detect(void) { return has_aes() ? SA_CPU_ARM_AES : 0; }

#else

static uint32_t detect(void) { return 0; }

#endif

/* Threads may detect at the same time: all find the same features. */
uint32_t sa_cpu_features(void)
{
    enum { KNOWN = 1 << 30 };
    static _Atomic uint32_t cache;
    uint32_t features = atomic_load_explicit(&cache, memory_order_relaxed);
    if (!features) {
        features = detect() | KNOWN;
        atomic_store_explicit(&cache, features, memory_order_relaxed);
    }
    return features;
}

int sa_cpu_feature_count(void) { return FEATURES; }

const char *sa_cpu_feature_name(int feature)
{
    return feature >= 0 && feature < FEATURES ? feature_names[feature] : NULL;
}

int sa_cpu_feature_present(int feature)
{
    return feature >= 0 && feature < FEATURES && (sa_cpu_features() >> feature & 1);
}

/* ---- families ---------------------------------------------------------------------------- */

extern const sa_cipher_kernel sa_aes_portable, sa_chacha_portable;
extern const sa_field_kernel sa_field_portable;
extern const sa_pack_kernel sa_pack_portable;
extern const sa_quantize_kernel sa_quantize_portable;
extern const sa_rotate_kernel sa_rotate_portable;
extern const sa_noise_kernel sa_noise_portable;
extern const sa_shamir_kernel sa_shamir_portable;
#if defined(__x86_64__)
extern const sa_cipher_kernel sa_aes_aesni, sa_aes_vaes512, sa_chacha_avx2, sa_chacha_avx512;
extern const sa_field_kernel sa_field_avx2, sa_field_avx512;
extern const sa_pack_kernel sa_pack_avx2, sa_pack_avx512;
extern const sa_quantize_kernel sa_quantize_avx2, sa_quantize_avx512;
extern const sa_rotate_kernel sa_rotate_avx2, sa_rotate_avx512;
extern const sa_noise_kernel sa_noise_avx2, sa_noise_avx512;
extern const sa_shamir_kernel sa_shamir_avx2, sa_shamir_avx512;
#elif defined(__aarch64__)
extern const sa_cipher_kernel sa_aes_armv8ce, sa_chacha_neon;
extern const sa_pack_kernel sa_pack_neon;
#endif

/* Ciphers have no name here: they are found by their generator. */
enum { FIELD, PACK, QUANTIZE, ROTATE, NOISE, SHAMIR, FIRST_CIPHER };
enum { IMPLEMENTATIONS = 4 };

/* Kernels in order of speed, the portable one first; the last usable one is the fastest. */
typedef struct {
    const char *name;
    int generator;                        /* of a cipher, else 0 */
    const void *kernels[IMPLEMENTATIONS]; /* null after the last */
} family_row;

static const family_row families[] = {
    [FIELD] = {"field", 0,
               {
                   &sa_field_portable,
#if defined(__x86_64__)
                   &sa_field_avx2,
                   &sa_field_avx512,
#endif
               }},
    [PACK] = {"pack", 0,
              {
                  &sa_pack_portable,
#if defined(__x86_64__)
                  &sa_pack_avx2,
                  &sa_pack_avx512,
#elif defined(__aarch64__)
                  &sa_pack_neon,
#endif
              }},
    [QUANTIZE] = {"quantize", 0,
                  {
                      &sa_quantize_portable,
#if defined(__x86_64__)
                      &sa_quantize_avx2,
                      &sa_quantize_avx512,
#endif
                  }},
    [ROTATE] = {"rotate", 0,
                {
                    &sa_rotate_portable,
#if defined(__x86_64__)
                    &sa_rotate_avx2,
                    &sa_rotate_avx512,
#endif
                }},
    [NOISE] = {"noise", 0,
               {
                   &sa_noise_portable,
#if defined(__x86_64__)
                   &sa_noise_avx2,
                   &sa_noise_avx512,
#endif
               }},
    [SHAMIR] = {"shamir", 0,
                {
                    &sa_shamir_portable,
#if defined(__x86_64__)
                    &sa_shamir_avx2,
                    &sa_shamir_avx512,
#endif
                }},
    [FIRST_CIPHER] = {"aes", SA_AES256CTR,
                      {
                          &sa_aes_portable,
#if defined(__x86_64__)
                          &sa_aes_aesni,
                          &sa_aes_vaes512,
#elif defined(__aarch64__)
                          &sa_aes_armv8ce,
#endif
                      }},
    {"chacha", SA_CHACHA20,
     {
         &sa_chacha_portable,
#if defined(__x86_64__)
         &sa_chacha_avx2,
         &sa_chacha_avx512,
#elif defined(__aarch64__)
         &sa_chacha_neon,
#endif
     }},
};
enum { FAMILIES = sizeof families / sizeof families[0] };

/* Every kernel struct begins with its name and its needs. */
#define BEGINS_ALIKE(type)                                                         \
    _Static_assert(offsetof(type, name) == 0 &&                                    \
                       offsetof(type, needs) == offsetof(sa_cipher_kernel, needs), \
                   "dispatch reads these two through the first struct's layout")
BEGINS_ALIKE(sa_field_kernel);
BEGINS_ALIKE(sa_pack_kernel);
BEGINS_ALIKE(sa_quantize_kernel);
BEGINS_ALIKE(sa_rotate_kernel);
BEGINS_ALIKE(sa_noise_kernel);
BEGINS_ALIKE(sa_shamir_kernel);

/* The kernel, or null if an index is out of range. */
static const void *find(int family, int implementation)
{
    if (family < 0 || family >= FAMILIES)
        return NULL;
    if (implementation < 0 || implementation >= IMPLEMENTATIONS)
        return NULL;
    return families[family].kernels[implementation];
}

static int usable(const void *kernel)
{
    uint32_t needs;
    memcpy(&needs, (const char *)kernel + offsetof(sa_cipher_kernel, needs), sizeof needs);
    return (needs & ~sa_cpu_features()) == 0;
}

/* Index of the active implementation plus one; 0 until the first use. Relaxed order is
 * enough: what the index leads to is constant. */
static _Atomic int choices[FAMILIES];

static int active(int family)
{
    int choice = atomic_load_explicit(&choices[family], memory_order_relaxed);
    if (choice)
        return choice - 1;
    int best = 0;
    for (int i = 1; find(family, i); i++)
        if (usable(find(family, i)))
            best = i;
    /* If another thread has forced a choice meanwhile, that one stays, and is put in `choice`. */
    if (atomic_compare_exchange_strong(&choices[family], &choice, best + 1))
        return best;
    return choice - 1;
}

int sa_family_count(void) { return FAMILIES; }

const char *sa_family_name(int family)
{
    return family >= 0 && family < FAMILIES ? families[family].name : NULL;
}

int sa_family_generator(int family)
{
    return family >= 0 && family < FAMILIES ? families[family].generator : 0;
}

int sa_implementation_count(int family)
{
    int count = 0;
    while (find(family, count))
        count++;
    return count;
}

const char *sa_implementation_name(int family, int implementation)
{
    const void *kernel = find(family, implementation);
    return kernel ? *(const char *const *)kernel : NULL;
}

int sa_implementation_usable(int family, int implementation)
{
    const void *kernel = find(family, implementation);
    return kernel && usable(kernel);
}

int sa_active(int family) { return find(family, 0) ? active(family) : SA_EARG; }

int sa_select(int family, int implementation)
{
    if (!sa_implementation_usable(family, implementation))
        return SA_EARG;
    atomic_store(&choices[family], implementation + 1);
    return SA_OK;
}

static const void *kernel_of(int family) { return families[family].kernels[active(family)]; }

const sa_cipher_kernel *sa_cipher(int generator)
{
    for (int family = FIRST_CIPHER; family < FAMILIES; family++)
        if (families[family].generator == generator)
            return kernel_of(family);
    return NULL;
}

const sa_field_kernel *sa_field(void) { return kernel_of(FIELD); }
const sa_pack_kernel *sa_pack(void) { return kernel_of(PACK); }
const sa_quantize_kernel *sa_quantize(void) { return kernel_of(QUANTIZE); }
const sa_rotate_kernel *sa_rotate(void) { return kernel_of(ROTATE); }
const sa_noise_kernel *sa_noise(void) { return kernel_of(NOISE); }
const sa_shamir_kernel *sa_shamir(void) { return kernel_of(SHAMIR); }
