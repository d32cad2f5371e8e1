! A Fortran program that encrypts a row of measured values, and moves it to its key's newest version.
!
!   readings DIR    creates a keystore in DIR
!   gfortran readings.f90 -lkms
!
! Pointers and lengths are passed by value, buffers and results by reference; texts end with c_null_char.
module kms
    use, intrinsic :: iso_c_binding
    implicit none
    integer, parameter :: id_size = 37, max_overhead = 112

    interface
        function kms_options_new() bind(c) result(options)
            import :: c_ptr
            type(c_ptr) :: options
        end function
        subroutine kms_options_free(options) bind(c)
            import :: c_ptr
            type(c_ptr), value :: options
        end subroutine
        function kms_options_set_root_key_file(options, path) bind(c) result(status)
            import :: c_ptr, c_char, c_int32_t
            type(c_ptr), value :: options
            character(kind=c_char), intent(in) :: path(*)
            integer(c_int32_t) :: status
        end function
        function kms_options_set_create(options, create_if_missing) bind(c) result(status)
            import :: c_ptr, c_int32_t
            type(c_ptr), value :: options
            integer(c_int32_t), value :: create_if_missing
            integer(c_int32_t) :: status
        end function
        function kms_open(location, options, out) bind(c) result(status)
            import :: c_ptr, c_char, c_int32_t
            character(kind=c_char), intent(in) :: location(*)
            type(c_ptr), value :: options
            type(c_ptr), intent(out) :: out
            integer(c_int32_t) :: status
        end function
        subroutine kms_close(handle) bind(c)
            import :: c_ptr
            type(c_ptr), value :: handle
        end subroutine
        function kms_create_key(handle, options, key_id) bind(c) result(status)
            import :: c_ptr, c_char, c_int32_t
            type(c_ptr), value :: handle, options
            character(kind=c_char), intent(out) :: key_id(*)
            integer(c_int32_t) :: status
        end function
        function kms_rotate(handle, key, version_id) bind(c) result(status)
            import :: c_ptr, c_char, c_int32_t
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: key(*)
            character(kind=c_char), intent(out) :: version_id(*)
            integer(c_int32_t) :: status
        end function
        function kms_encrypt(handle, key, plaintext, plaintext_len, context, context_count, out, out_cap, out_len) &
                bind(c) result(status)
            import :: c_ptr, c_char, c_int32_t, c_size_t, c_int8_t
            type(c_ptr), value :: handle, plaintext, context
            character(kind=c_char), intent(in) :: key(*)
            integer(c_size_t), value :: plaintext_len, context_count, out_cap
            integer(c_int8_t), intent(out) :: out(*)
            integer(c_size_t), intent(out) :: out_len
            integer(c_int32_t) :: status
        end function
        function kms_reencrypt(handle, blob, blob_len, source, source_context_count, key_id, destination, &
                destination_context_count, out, out_cap, out_len) bind(c) result(status)
            import :: c_ptr, c_char, c_int32_t, c_size_t, c_int8_t
            type(c_ptr), value :: handle, source, destination
            integer(c_int8_t), intent(in) :: blob(*)
            character(kind=c_char), intent(in) :: key_id(*)
            integer(c_size_t), value :: blob_len, source_context_count, destination_context_count, out_cap
            integer(c_int8_t), intent(out) :: out(*)
            integer(c_size_t), intent(out) :: out_len
            integer(c_int32_t) :: status
        end function
        function kms_decrypt(handle, blob, blob_len, context, context_count, out, out_cap, out_len) bind(c) result(status)
            import :: c_ptr, c_int32_t, c_size_t, c_int8_t
            type(c_ptr), value :: handle, context, out
            integer(c_int8_t), intent(in) :: blob(*)
            integer(c_size_t), value :: blob_len, context_count, out_cap
            integer(c_size_t), intent(out) :: out_len
            integer(c_int32_t) :: status
        end function
        function kms_last_error(buf, cap) bind(c) result(length)
            import :: c_char, c_size_t
            character(kind=c_char), intent(out) :: buf(*)
            integer(c_size_t), value :: cap
            integer(c_size_t) :: length
        end function
    end interface

contains

    subroutine must(status, what)
        integer(c_int32_t), intent(in) :: status
        character(*), intent(in) :: what
        character(kind=c_char) :: reason(256)
        integer(c_size_t) :: length
        if (status == 0) return
        length = min(kms_last_error(reason, 256_c_size_t), 255_c_size_t)
        write (*, *) 'FAILED: ', what, ': status', status, ': ', reason(1:length)
        error stop 1
    end subroutine

end module

program readings
    use kms
    implicit none
    integer, parameter :: n = 8
    real(c_double), target :: measured(n), found(n)
    integer(c_int8_t) :: blob(8 * n + max_overhead), moved(8 * n + max_overhead)
    integer(c_size_t) :: blob_len, moved_len, length
    type(c_ptr) :: options, handle
    character(kind=c_char) :: key(id_size), version(id_size)
    character(200) :: folder
    integer(c_int64_t) :: bits(n)
    integer :: i

    call get_command_argument(1, folder)
    if (folder == '') then
        write (0, '(a)') 'usage: readings DIR'
        stop 2
    end if
    options = kms_options_new()
    call must(kms_options_set_root_key_file(options, trim(folder)//'/readings.key'//c_null_char), 'the root key file')
    call must(kms_options_set_create(options, 1_c_int32_t), 'create')
    call must(kms_open(trim(folder)//'/readings.db'//c_null_char, options, handle), 'opening the keystore')
    call kms_options_free(options)
    call must(kms_create_key(handle, c_null_ptr, key), 'making the key')

    measured = [(sqrt(real(i, c_double)), i=1, n)]
    call must(kms_encrypt(handle, key, c_loc(measured), 8_c_size_t * n, c_null_ptr, 0_c_size_t, &
                          blob, size(blob, kind=c_size_t), blob_len), 'encrypting')
    call must(kms_rotate(handle, key, version), 'rotating')
    call must(kms_reencrypt(handle, blob, blob_len, c_null_ptr, 0_c_size_t, key, c_null_ptr, 0_c_size_t, &
                            moved, size(moved, kind=c_size_t), moved_len), 're-encrypting')
    call must(kms_decrypt(handle, moved, moved_len, c_null_ptr, 0_c_size_t, c_loc(found), 8_c_size_t * n, length), 'decrypting')
    if (length /= 8 * n .or. any(transfer(found, bits) /= transfer(measured, bits))) error stop 1
    call kms_close(handle)
    write (*, '(i0, a)') n, ' readings came back equal, under the newest version of their key'
end program
