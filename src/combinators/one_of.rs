//! Which arm of a race won, and what it resolved to.
//!
//! Knows: nothing else. Does not know: operations.

/// One enum per arity, with one variant per arm.
macro_rules! one_of {
    ($($OneOf:ident $count:literal: $($T:ident $index:literal),+;)+) => { $(
        #[doc = concat!("Which of ", $count, " arms won, and its output: `A` is the first arm, `B` the second, and so on.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $OneOf<$($T),+> {
            $(
                #[doc = concat!("Arm ", $index, ", counted from 0, won.")]
                $T($T),
            )+
        }

        impl<$($T),+> $OneOf<$($T),+> {
            /// The winner's place, counted from 0.
            #[must_use]
            pub fn index(&self) -> usize {
                match self {
                    $(Self::$T(_) => $index,)+
                }
            }
        }

        impl<T> $OneOf<$(one_of!(@same $T)),+> {
            /// The winner's output, when all arms resolve to the same type.
            #[must_use]
            pub fn into_inner(self) -> T {
                match self {
                    $(Self::$T(output) => output,)+
                }
            }
        }
    )+ };
    (@same $T:ident) => { T };
}

one_of! {
    OneOf2 2: A 0, B 1;
    OneOf3 3: A 0, B 1, C 2;
    OneOf4 4: A 0, B 1, C 2, D 3;
    OneOf5 5: A 0, B 1, C 2, D 3, E 4;
    OneOf6 6: A 0, B 1, C 2, D 3, E 4, F 5;
    OneOf7 7: A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    OneOf8 8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
    OneOf9 9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8;
    OneOf10 10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9;
    OneOf11 11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10;
    OneOf12 12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11;
    OneOf13 13: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12;
    OneOf14 14: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13;
    OneOf15 15: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14;
    OneOf16 16: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15;
}
