// DFTs of fixed size held entirely in registers, written once for SIMD lanes and CUDA threads.
//
// fft<R>(v): v[k] <- sum_n v[n] exp(+2 pi i n k / R), unnormalised. The forward sign is had by exchanging the
// real and imaginary parts of input and output. T is a float, a double, or a vector of them; every constant is
// computed in double at compile time and rounded once.
#pragma once

#include "../common/dialect.h"

#ifndef FREQKIT_SIMD_NAMESPACE
#define FREQKIT_SIMD_NAMESPACE scalar
#endif

namespace freqkit {
// One inline namespace per instruction set: the same text is compiled several times into one library.
inline namespace FREQKIT_SIMD_NAMESPACE {

template <class T>
struct Complex {
  T re, im;
};

template <class T>
struct Bare {
  using type = T;
};
template <class T>
struct Bare<T&> {
  using type = T;
};
template <class T>
struct Bare<T&&> {
  using type = T;
};
template <class T>
struct Bare<const T&> {
  using type = T;
};

// The element type of a lane vector (or the type itself).
template <class T>
struct Element {
  using type = typename Bare<decltype(T{}[0])>::type;
};
template <>
struct Element<float> {
  using type = float;
};
template <>
struct Element<double> {
  using type = double;
};

// cos and sin of 2 pi num/den, reduced exactly to the first octant before the series.
struct Angle {
  double cos, sin;
};

constexpr Angle series(double x) {
  double c = 1, s = x, term = 1;
  double power = x;
  for (int k = 1; k < 14; ++k) {
    term = -term * x * x / ((2 * k - 1) * (2 * k));
    c += term;
    power = -power * x * x / ((2 * k) * (2 * k + 1));
    s += power;
  }
  return {c, s};
}

constexpr Angle unit_root(long long num, long long den) {
  constexpr double two_pi = 6.283185307179586476925286766559;
  num %= den;
  if (num < 0) num += den;
  long long octant = 8 * num / den;  // 0..7
  switch (octant) {
    case 0: {
      Angle a = series(two_pi * double(num) / double(den));
      return a;
    }
    case 1: {  // pi/2 - a
      Angle a = series(two_pi * double(den - 4 * num) / double(4 * den));
      return {a.sin, a.cos};
    }
    case 2: {
      Angle a = series(two_pi * double(4 * num - den) / double(4 * den));
      return {-a.sin, a.cos};
    }
    case 3: {
      Angle a = series(two_pi * double(den - 2 * num) / double(2 * den));
      return {-a.cos, a.sin};
    }
    case 4: {
      Angle a = series(two_pi * double(2 * num - den) / double(2 * den));
      return {-a.cos, -a.sin};
    }
    case 5: {
      Angle a = series(two_pi * double(3 * den - 4 * num) / double(4 * den));
      return {-a.sin, -a.cos};
    }
    case 6: {
      Angle a = series(two_pi * double(4 * num - 3 * den) / double(4 * den));
      return {a.sin, -a.cos};
    }
    default: {
      Angle a = series(two_pi * double(den - num) / double(den));
      return {a.cos, -a.sin};
    }
  }
}

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};
template <int I>
struct Index {
  static constexpr int value = I;
};

template <class F, int... I>
FREQKIT_HD FREQKIT_INLINE void unroll_over(F&& body, Indices<I...>) {
  (body(Index<I>{}), ...);
}
// body(Index<0>{}), ..., body(Index<N-1>{}): a loop whose counter is a compile-time constant.
template <int N, class F>
FREQKIT_HD FREQKIT_INLINE void unroll(F&& body) {
  unroll_over(static_cast<F&&>(body), typename MakeIndices<N>::type{});
}

// z * exp(2 pi i NUM/DEN) with the trivial roots written out.
template <int NUM, int DEN, class T>
FREQKIT_HD FREQKIT_INLINE Complex<T> rotate(const Complex<T>& z) {
  using E = typename Element<T>::type;
  constexpr int n = ((NUM % DEN) + DEN) % DEN;
  if constexpr (n == 0) {
    return z;
  } else if constexpr (4 * n == DEN) {
    return {-z.im, z.re};
  } else if constexpr (2 * n == DEN) {
    return {-z.re, -z.im};
  } else if constexpr (4 * n == 3 * DEN) {
    return {z.im, -z.re};
  } else if constexpr ((8 * n) % DEN == 0) {
    constexpr E h = E(0.70710678118654752440);
    if constexpr (8 * n == DEN) return {(z.re - z.im) * h, (z.re + z.im) * h};
    if constexpr (8 * n == 3 * DEN) return {(z.re + z.im) * -h, (z.re - z.im) * h};
    if constexpr (8 * n == 5 * DEN) return {(z.im - z.re) * h, (z.re + z.im) * -h};
    if constexpr (8 * n == 7 * DEN) return {(z.re + z.im) * h, (z.im - z.re) * h};
  } else {
    constexpr Angle w = unit_root(n, DEN);
    constexpr E c = E(w.cos), s = E(w.sin);
    return {z.re * c - z.im * s, z.re * s + z.im * c};
  }
}

constexpr int gcd(int a, int b) { return b == 0 ? a : gcd(b, a % b); }
constexpr int inverse_mod(int a, int m) {
  for (int i = 1; i < m; ++i)
    if (a * i % m == 1) return i;
  return m == 1 ? 0 : -1;
}
// How a composite size is split: R = split(R) * (R / split(R)); a prime is its own split.
constexpr int split(int r) {
  switch (r) {
    case 6: return 3;
    case 8: return 2;
    case 9: return 3;
    case 10: return 5;
    case 12: return 3;
    case 14: return 7;
    case 15: return 5;
    case 16: return 4;
    case 18: return 9;
    case 20: return 5;
    case 21: return 7;
    case 24: return 3;
    case 25: return 5;
    case 28: return 7;
    case 32: return 4;
    case 36: return 9;
    case 40: return 8;
    case 48: return 3;
    case 56: return 8;
    default: return r;
  }
}

// v[k] <- sum_n v[n] exp(+2 pi i n k / R), taking each input from in(Index<n>) and handing each output to
// out(Index<k>, value) as soon as it is known, so that few values are alive at once. Every input is taken before the
// first output is handed over, so both may be the same memory.
template <int R, class T, class In, class Out>
FREQKIT_HD FREQKIT_INLINE void fft(In&& in, Out&& out);

// Odd primes by symmetric and antisymmetric sums: (R-1)^2 real multiplications.
template <int R, class T, class In, class Out>
FREQKIT_HD FREQKIT_INLINE void fft_prime(In&& in, Out&& out) {
  using E = typename Element<T>::type;
  constexpr int h = (R - 1) / 2;
  Complex<T> s[h], d[h];
  const Complex<T> first = in(Index<0>{});
  Complex<T> total = first;
  unroll<h>([&](auto j) FREQKIT_LAMBDA {
    constexpr int J = decltype(j)::value;
    const Complex<T> a = in(Index<J + 1>{}), b = in(Index<R - 1 - J>{});
    s[J] = {a.re + b.re, a.im + b.im};
    d[J] = {a.re - b.re, a.im - b.im};
    total = {total.re + s[J].re, total.im + s[J].im};
  });
  out(Index<0>{}, total);
  unroll<h>([&](auto k) FREQKIT_LAMBDA {
    constexpr int K = decltype(k)::value;
    T ar = first.re, ai = first.im;
    constexpr E s0 = E(unit_root(K + 1, R).sin);
    T br = d[0].re * s0, bi = d[0].im * s0;
    unroll<h>([&](auto j) FREQKIT_LAMBDA {
      constexpr int J = decltype(j)::value;
      constexpr Angle w = unit_root((J + 1) * (K + 1), R);
      constexpr E c = E(w.cos), si = E(w.sin);
      ar = ar + s[J].re * c;
      ai = ai + s[J].im * c;
      if constexpr (J > 0) {
        br = br + d[J].re * si;
        bi = bi + d[J].im * si;
      }
    });
    out(Index<K + 1>{}, Complex<T>{ar - bi, ai + br});
    out(Index<R - 1 - K>{}, Complex<T>{ar + bi, ai - br});
  });
}

template <int R, class T, class In, class Out>
FREQKIT_HD FREQKIT_INLINE void fft(In&& in, Out&& out) {
  using E = typename Element<T>::type;
  using C = Complex<T>;
  if constexpr (R == 1) {
    out(Index<0>{}, in(Index<0>{}));
  } else if constexpr (R == 2) {
    const C a = in(Index<0>{}), b = in(Index<1>{});
    out(Index<0>{}, C{a.re + b.re, a.im + b.im});
    out(Index<1>{}, C{a.re - b.re, a.im - b.im});
  } else if constexpr (R == 3) {
    constexpr E half = E(0.5), s = E(0.86602540378443864676);
    const C a = in(Index<0>{}), b = in(Index<1>{}), c = in(Index<2>{});
    const C t = {b.re + c.re, b.im + c.im};
    const C d = {(b.re - c.re) * s, (b.im - c.im) * s};
    const C m = {a.re - t.re * half, a.im - t.im * half};
    out(Index<0>{}, C{a.re + t.re, a.im + t.im});
    out(Index<1>{}, C{m.re - d.im, m.im + d.re});
    out(Index<2>{}, C{m.re + d.im, m.im - d.re});
  } else if constexpr (R == 4) {
    const C v0 = in(Index<0>{}), v1 = in(Index<1>{}), v2 = in(Index<2>{}), v3 = in(Index<3>{});
    const C a = {v0.re + v2.re, v0.im + v2.im}, b = {v0.re - v2.re, v0.im - v2.im};
    const C c = {v1.re + v3.re, v1.im + v3.im}, d = {v1.re - v3.re, v1.im - v3.im};
    out(Index<0>{}, C{a.re + c.re, a.im + c.im});
    out(Index<1>{}, C{b.re - d.im, b.im + d.re});
    out(Index<2>{}, C{a.re - c.re, a.im - c.im});
    out(Index<3>{}, C{b.re + d.im, b.im - d.re});
  } else if constexpr (split(R) == R) {
    fft_prime<R, T>(in, out);
  } else {
    constexpr int A = split(R), B = R / split(R);
    C t[R];
    if constexpr (gcd(A, B) == 1) {  // Good-Thomas: no twiddles
      unroll<B>([&](auto bi) FREQKIT_LAMBDA {
        constexpr int b = decltype(bi)::value;
        fft<A, T>([&](auto a) FREQKIT_LAMBDA { return in(Index<(decltype(a)::value * B + b * A) % R>{}); },
                  [&](auto a, const C& value) FREQKIT_LAMBDA { t[decltype(a)::value * B + b] = value; });
      });
      unroll<A>([&](auto ai) FREQKIT_LAMBDA {
        constexpr int a = decltype(ai)::value;
        fft<B, T>([&](auto b) FREQKIT_LAMBDA { return t[a * B + decltype(b)::value]; },
                  [&](auto b, const C& value) FREQKIT_LAMBDA {
                    out(Index<(a * B * inverse_mod(B % A, A) + decltype(b)::value * A * inverse_mod(A % B, B)) % R>{},
                        value);
                  });
      });
    } else {
      unroll<B>([&](auto bi) FREQKIT_LAMBDA {
        constexpr int b = decltype(bi)::value;
        fft<A, T>([&](auto a) FREQKIT_LAMBDA { return in(Index<decltype(a)::value * B + b>{}); },
                  [&](auto a, const C& value)
                      FREQKIT_LAMBDA { t[decltype(a)::value * B + b] = rotate<decltype(a)::value * b, R>(value); });
      });
      unroll<A>([&](auto ai) FREQKIT_LAMBDA {
        constexpr int a = decltype(ai)::value;
        fft<B, T>([&](auto b) FREQKIT_LAMBDA { return t[a * B + decltype(b)::value]; },
                  [&](auto b, const C& value) FREQKIT_LAMBDA { out(Index<a + A* decltype(b)::value>{}, value); });
      });
    }
  }
}

// The same on an array in registers.
template <int R, class T>
FREQKIT_HD FREQKIT_INLINE void fft(Complex<T>* v) {
  fft<R, T>([&](auto n) FREQKIT_LAMBDA { return v[decltype(n)::value]; },
            [&](auto k, const Complex<T>& value) FREQKIT_LAMBDA { v[decltype(k)::value] = value; });
}

}  // namespace FREQKIT_SIMD_NAMESPACE
}  // namespace freqkit
